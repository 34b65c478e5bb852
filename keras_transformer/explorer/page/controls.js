// Controls that several views share: steppers, sliders, segments and switches.

import { uniqueId } from "/web/dom.js";
import { el } from "./make.js";
import { t } from "./strings.js";

// "‹ Layer 2 of 6 ›"; also by arrow keys. Values count from 0.
export function stepper({ label, count, value, onChange }) {
  const text = el("output", { class: "stepper-value" });
  const button = (sign, step, key) =>
    el("button", { type: "button", class: "round", "aria-label": `${label}: ${t(key)}`,
      onclick: () => move(step) }, sign);
  const back = button("‹", -1, "stepper.back");
  const forward = button("›", 1, "stepper.forward");
  const element = el("div", { class: "stepper", role: "group", "aria-label": label },
    back, text, forward);
  const current = { count, value };
  const draw = () => {
    text.textContent = t("stepper.value", {
      label, value: current.value + 1, count: current.count,
    });
    back.disabled = current.count < 2;
    forward.disabled = current.count < 2;
  };
  const move = (step) => {
    current.value = (current.value + step + current.count) % current.count;
    draw();
    onChange(current.value);
  };
  element.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    if (!(event.key in steps) || current.count < 2) return;
    event.preventDefault();
    move(steps[event.key]);
  });
  draw();
  return {
    element,
    update(options) {
      Object.assign(current, options);
      draw();
    },
  };
}

// A slider with its name and its value; `show` writes the value, `onRelease` comes at the end.
export function slider({ label, min, max, step, value, show, onInput, onRelease, id }) {
  const output = el("output", {}, show(value));
  const input = el("input", { type: "range", id: id ?? uniqueId("slider"), min, max, step });
  input.value = String(value);
  input.setAttribute("aria-valuetext", show(value));
  const write = () => {
    output.textContent = show(Number(input.value));
    input.setAttribute("aria-valuetext", show(Number(input.value)));
  };
  input.addEventListener("input", () => {
    write();
    onInput?.(Number(input.value));
  });
  input.addEventListener("change", () => onRelease?.(Number(input.value)));
  const element = el("div", { class: "slider" },
    el("label", { for: input.id }, label), output, input);
  return {
    element,
    input,
    set(next) {
      input.value = String(next);
      write();
    },
  };
}

// A choice of one among few: radio buttons that look like one bar.
export function segments({ label, options, value, onChange }) {
  const name = uniqueId("segment");
  const inputs = options.map((option) => {
    const input = el("input", { type: "radio", name, value: option.value, id: uniqueId("option"),
      checked: option.value === value, onchange: () => onChange(option.value) });
    return [input, el("label", { for: input.id }, option.text)];
  });
  return el("fieldset", { class: "segments" },
    el("legend", { class: "unseen" }, label), ...inputs);
}

// A check box with its label.
export function toggle({ label, checked, onChange, title = null }) {
  const input = el("input", { type: "checkbox", checked, id: uniqueId("toggle"),
    onchange: () => onChange(input.checked) });
  return el("span", { class: "toggle", title }, input, el("label", { for: input.id }, label));
}

// A heading of a part of a view, with what it says in a sentence.
export function part(name, title, text, ...children) {
  return el("section", { class: "part", "data-part": name },
    el("h3", {}, title), text ? el("p", { class: "note" }, text) : null, ...children);
}
