// Two columns of tokens with lines between them: the head view.

import { element, labelOf, number, onceAFrame, say, tokenSpan, uniqueId } from "./dom.js";
import { headColors, onTheme } from "./theme.js";

const ROW = 24;
const ROW_OF_LONG_TEXTS = 16;
const MANY = 150;
const FAINTEST = 0.01;
const FAINTEST_OF_MANY = 0.1;
const MANY_LINES = 10000;
const TALLEST_CANVAS = 16000;

/**
 * Shows which tokens attend to which, one color a head; a token chosen shows its own lines alone.
 *
 * @param {Element} parent - Where to append it.
 * @param {object} options
 *   left, right: tokens that attend, and tokens attended to;
 *   heads: [{name, values}], weights of left.length rows and right.length columns each;
 *   leftName, rightName: what the columns are called;
 *   shown: indices of the heads whose boxes are ticked at first, by default all;
 *   selected: index of the token chosen on the left; onSelect(index or null).
 * @returns {{element: Element, update: function(object)}}
 */
export function lines(parent, options) {
  const view = new LinesView(options);
  parent.append(view.element);
  view.update({});
  return { element: view.element, update: (changes) => view.update(changes) };
}

class LinesView {
  constructor(options) {
    this.options = { leftName: "from", rightName: "to", ...options };
    this.boxes = element("fieldset", { class: "kt-heads" });
    this.canvas = element("canvas", { class: "kt-lines-canvas", "aria-hidden": "true" });
    this.columns = ["left", "right"].map((side) => this.makeColumn(side));
    const middle = element("div", { class: "kt-lines-middle" }, [this.canvas]);
    this.body = element("div", { class: "kt-lines-body" }, [this.columns[0], middle, this.columns[1]]);
    this.readout = element("output", { class: "kt-readout", "aria-live": "polite" });
    this.element = element("figure", { class: "kt-lines" }, [this.boxes, this.body, this.readout]);
    this.chosen = { side: "left", index: options.selected ?? null };
    this.hovered = null;
    this.draw = onceAFrame(() => this.paint());
    onTheme(this.element, () => this.update({}));
    new ResizeObserver(this.draw).observe(middle);
  }

  makeColumn(side) {
    const list = element("div", { class: `kt-column kt-${side}`, role: "listbox", tabindex: 0 });
    list.addEventListener("pointerover", (event) => this.hover(side, event));
    list.addEventListener("pointerleave", () => this.hover(side, null));
    list.addEventListener("click", (event) => this.toggle(side, indexOf(event)));
    list.addEventListener("keydown", (event) => this.press(side, event));
    return list;
  }

  update(changes) {
    const hasNewHeads = "heads" in changes && changes.heads.length !== this.ticked?.length;
    Object.assign(this.options, changes);
    const { heads, shown, left, right } = this.options;
    if (!this.ticked || hasNewHeads || "shown" in changes) {
      this.ticked = heads.map((_, i) => !shown || shown.includes(i));
    }
    if ("selected" in changes) this.chosen = { side: "left", index: changes.selected ?? null };
    this.colors = headColors(this.element, heads.length);
    this.row = Math.max(left.length, right.length) > MANY ? ROW_OF_LONG_TEXTS : ROW;
    this.element.style.setProperty("--kt-row", `${this.row}px`);
    this.fillBoxes();
    this.fillColumn(0, left, this.options.leftName);
    this.fillColumn(1, right, this.options.rightName);
    this.show();
  }

  fillBoxes() {
    const { heads } = this.options;
    this.boxes.hidden = heads.length < 2;
    const all = element("button", { type: "button", class: "kt-button", text: say("all") });
    const none = element("button", { type: "button", class: "kt-button", text: say("none") });
    for (const [button, value] of [[all, true], [none, false]]) {
      button.addEventListener("click", () => {
        this.ticked.fill(value);
        this.boxes.querySelectorAll("input").forEach((box) => (box.checked = value));
        this.show();
      });
    }
    const labels = heads.map(({ name }, i) => {
      const box = element("input", { type: "checkbox" });
      box.checked = this.ticked[i];
      box.addEventListener("change", () => {
        this.ticked[i] = box.checked;
        this.show();
      });
      const swatch = element("span", { class: "kt-swatch", "aria-hidden": "true" });
      swatch.style.background = this.colors[i];
      return element("label", { class: "kt-head" }, [box, swatch, element("span", { text: name })]);
    });
    this.boxes.replaceChildren(element("legend", { text: say("Heads") }), ...labels, all, none);
  }

  fillColumn(place, tokens, name) {
    const list = this.columns[place];
    list.setAttribute("aria-label", name);
    const prefix = uniqueId("token");
    list.replaceChildren(
      ...tokens.map((token, i) => {
        const item = tokenSpan(token);
        item.id = `${prefix}-${i}`;
        item.dataset.index = i;
        item.setAttribute("role", "option");
        return item;
      }),
    );
  }

  hover(side, event) {
    const index = event ? indexOf(event) : null;
    this.hovered = index === null ? null : { side, index };
    this.show();
  }

  toggle(side, index) {
    if (index === null) return;
    const isSame = this.chosen.side === side && this.chosen.index === index;
    this.choose(side, isSame ? null : index);
  }

  choose(side, index) {
    this.chosen = { side, index };
    this.hovered = null;
    this.show();
    if (side === "left") this.options.onSelect?.(index);
  }

  press(side, event) {
    const count = this.options[side].length;
    const current = this.chosen.side === side && this.chosen.index !== null ? this.chosen.index : -1;
    const moves = { ArrowDown: current + 1, ArrowUp: current - 1, Home: 0, End: count - 1, Escape: null };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const next = moves[event.key];
    this.choose(side, next === null ? null : Math.min(count - 1, Math.max(0, next)));
    const item = this.columns[side === "left" ? 0 : 1].children[next];
    item?.scrollIntoView({ block: "nearest" });
  }

  /** The token whose lines are shown alone; null shows the lines of all. */
  focus() {
    return this.hovered ?? (this.chosen.index === null ? null : this.chosen);
  }

  /** Marks the tokens, by how much the chosen one attends to them, and draws the lines. */
  show() {
    const focus = this.focus();
    const { left, right } = this.options;
    const shares = { left: new Float32Array(left.length), right: new Float32Array(right.length) };
    const heads = this.shownHeads();
    if (focus) {
      const other = focus.side === "left" ? "right" : "left";
      for (let i = 0; i < shares[other].length; i += 1) {
        for (const { values } of heads) {
          const place = focus.side === "left" ? [focus.index, i] : [i, focus.index];
          shares[other][i] += Math.max(0, values[place[0] * right.length + place[1]]) / heads.length;
        }
      }
    }
    ["left", "right"].forEach((side, place) => this.mark(this.columns[place], side, focus, shares[side]));
    const isCrowded = left.length * right.length > MANY_LINES;
    const hint = isCrowded ? say("Lines of at least {least}; point at a token for all of its own.", { least: FAINTEST_OF_MANY }) : "";
    this.readout.textContent = focus ? this.describe(focus, shares) : hint;
    this.draw();
  }

  mark(list, side, focus, shares) {
    list.removeAttribute("aria-activedescendant");
    for (const [i, item] of [...list.children].entries()) {
      const isChosen = focus !== null && focus.side === side && focus.index === i;
      item.classList.toggle("kt-chosen", isChosen);
      item.setAttribute("aria-selected", String(isChosen));
      item.style.setProperty("--kt-share", `${Math.round(100 * Math.min(1, shares[i]))}%`);
      if (isChosen) list.setAttribute("aria-activedescendant", item.id);
    }
  }

  describe({ side, index }, shares) {
    const other = side === "left" ? "right" : "left";
    const best = [...shares[other].entries()].sort((a, b) => b[1] - a[1]).slice(0, 4);
    const texts = best
      .filter(([, share]) => share > 0)
      .map(([i, share]) => `\u2068${labelOf(this.options[other][i])}\u2069 ${number(share, 3)}`);
    const count = this.shownHeads().length;
    const note = count > 1 ? ` (${say("mean of {count} heads", { count })})` : "";
    const arrow = side === "left" ? "→" : "←";
    return `\u2068${labelOf(this.options[side][index])}\u2069 ${arrow} ${texts.join(", ") || say("nothing")}${note}`;
  }

  shownHeads() {
    return this.options.heads
      .map(({ values }, i) => ({ values, color: this.colors[i] }))
      .filter((_, i) => this.ticked[i]);
  }

  paint() {
    const { left, right } = this.options;
    const height = Math.max(left.length, right.length, 1) * this.row;
    const width = Math.max(40, this.canvas.parentElement.clientWidth);
    const ratio = Math.min(window.devicePixelRatio || 1, TALLEST_CANVAS / height);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const focus = this.focus();
    const heads = this.shownHeads();
    // Of a long text, all lines at once would be one gray cloud.
    const isCrowded = focus === null && left.length * right.length > MANY_LINES;
    const faintest = isCrowded ? FAINTEST_OF_MANY : FAINTEST;
    for (const [order, { values, color }] of heads.entries()) {
      context.strokeStyle = color;
      const shift = (order - (heads.length - 1) / 2) * Math.min(2, (0.6 * this.row) / heads.length);
      for (let i = 0; i < left.length; i += 1) {
        if (focus?.side === "left" && focus.index !== i) continue;
        for (let j = 0; j < right.length; j += 1) {
          const weight = values[i * right.length + j];
          if (!(weight >= faintest) || (focus?.side === "right" && focus.index !== j)) continue;
          context.globalAlpha = Math.min(1, focus ? 0.15 + 0.85 * weight : weight);
          context.lineWidth = focus ? 2.5 : 1.5;
          this.line(context, width, (i + 0.5) * this.row + shift, (j + 0.5) * this.row + shift);
        }
      }
    }
    context.globalAlpha = 1;
  }

  line(context, width, from, to) {
    context.beginPath();
    context.moveTo(0, from);
    context.bezierCurveTo(width / 2, from, width / 2, to, width, to);
    context.stroke();
  }
}

function indexOf(event) {
  const item = event.target.closest?.("[data-index]");
  return item ? Number(item.dataset.index) : null;
}
