// Recurrent models: gates and states over time, layer by layer.

import { part } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { el, redraw } from "./make.js";
import { t, tOr } from "./strings.js";
import { strip } from "./strip.js";

export function statesView(app) {
  const element = el("div", {});
  const showInElement = drawer(element);

  const draw = async () => {
    const { recording } = app.state;
    if (!recording) return;
    await showInElement(() => app.attempt(recording.states()),
      (states) => redraw(element, () => show(states ?? [])));
  };

  const show = (states) => {
    if (!states.length) return element.append(el("p", { class: "note" }, t("states.none")));
    element.append(part("states", t("states.title"), t("states.text")));
    for (const [layer, tensors] of byLayer(states)) element.append(layerOf(app, layer, tensors));
    return undefined;
  };

  return {
    element,
    update(names) {
      if (concerns(names, "recording", "row")) draw();
    },
  };
}

function byLayer(states) {
  const layers = new Map();
  for (const state of states) {
    const pieces = state.name.split("/");
    const what = pieces.pop();
    const layer = pieces.join("/");
    if (!layers.has(layer)) layers.set(layer, []);
    layers.get(layer).push({ ...state, what });
  }
  return layers;
}

function layerOf(app, layer, tensors) {
  const holder = el("div", { class: "three" });
  const stack = layer.split("/")[0];
  const tokens = app.state.recording.tokens[stack] ?? app.rows;
  for (const { what, shape, values } of tensors) {
    const texts = tokens.length === shape[0]
      ? tokens.map(({ text }) => text) : [...Array(shape[0]).keys()].map(String);
    const isReading = texts.length === app.rows.length;
    strip(holder, {
      rows: texts, width: shape.at(-1), values, title: tOr(`states.${what}`, what),
      kind: what.endsWith("_gate") ? "weights" : "signed",
      note: tOr(`states.${what}.note`, ""), selected: isReading ? app.row : null,
      onSelect: isReading ? (row) => app.chooseRow(row) : undefined,
    });
  }
  return el("section", { class: "part" }, el("h4", {}, layer), holder);
}
