// Tokens in a row, of which one is chosen, by click or by the arrow keys.

import { visible } from "/web/dom.js";
import { clear, el } from "./make.js";

// `items` are {text, below, note, className}; `onSelect(index)` is called with the index chosen.
export function chips(parent, { items, selected, label, onSelect }) {
  const element = el("div", { class: "chips", role: "radiogroup", "aria-label": label });
  parent.append(element);
  let current = { items, selected };

  const choose = (index, focus) => {
    current.selected = index;
    draw();
    if (focus) element.children[index]?.focus();
    onSelect?.(index);
  };
  const draw = () => {
    clear(element, current.items.map((item, index) => {
      const isChosen = index === current.selected;
      return el(
        "button",
        {
          type: "button",
          class: `chip ${item.className ?? ""}`,
          role: "radio",
          "aria-checked": String(isChosen),
          tabIndex: isChosen || (current.selected === null && index === 0) ? 0 : -1,
          title: item.note ?? null,
          onclick: () => choose(index, true),
        },
        el("bdi", {}, visible(item.text)),
        item.below === undefined ? null : el("small", {}, el("bdi", {}, item.below)),
      );
    }));
  };
  element.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const last = current.items.length - 1;
    let index = null;
    if (event.key in steps) index = (current.selected ?? 0) + steps[event.key];
    if (event.key === "Home") index = 0;
    if (event.key === "End") index = last;
    if (index === null) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(last, index)), true);
  });
  draw();
  return {
    element,
    update(options) {
      const hadFocus = element.contains(document.activeElement);
      current = { ...current, ...options };
      draw();
      if (hadFocus) element.children[current.selected]?.focus();
    },
  };
}
