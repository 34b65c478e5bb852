// Thumbnails of the heads of all layers: the model view.

import { element, onceAFrame } from "./dom.js";
import { limits, onTheme, painted, ramp } from "./theme.js";

const SIDE = 64;

/**
 * Shows a row of thumbnails for each layer, of which one can be chosen.
 *
 * @param {Element} parent - Where to append it.
 * @param {object} options
 *   layers, heads: numbers of layers and of heads, or lists of their names; `heads` may also be a
 *   function from the index of a layer to either;
 *   values(layer, head): {shape: [rows, columns], values}, or null while there is none;
 *   kind: "weights" or "signed"; maximum: the value of the strongest color, by default each head's own;
 *   selected: [layer, head]; off(layer, head): whether to show a head as switched off;
 *   onSelect(layer, head).
 * @returns {{element: Element, update: function(object)}}
 */
export function grid(parent, options) {
  const view = new GridView(options);
  parent.append(view.element);
  view.update({});
  return { element: view.element, update: (changes) => view.update(changes) };
}

class GridView {
  constructor(options) {
    this.options = { kind: "weights", selected: null, ...options };
    this.element = element("div", { class: "kt-grid", role: "group", "aria-label": "Layers and heads" });
    this.element.addEventListener("keydown", (event) => this.press(event));
    this.draw = onceAFrame(() => this.paint());
    onTheme(this.element, this.draw);
  }

  update(changes) {
    Object.assign(this.options, changes);
    const layers = names(this.options.layers);
    const heads = layers.map((_, i) => {
      const { heads: given } = this.options;
      return names(typeof given === "function" ? given(i) : given);
    });
    const plan = JSON.stringify([layers, heads]);
    if (plan !== this.plan) this.build(layers, heads);
    this.plan = plan;
    this.mark();
    this.draw();
  }

  build(layers, heads) {
    this.rows = layers.map((layer, i) => heads[i].map((head, j) => this.thumbnail(layer, head, i, j)));
    this.element.replaceChildren(
      ...layers.map((layer, i) =>
        element("div", { class: "kt-grid-row" }, [
          element("span", { class: "kt-grid-name", text: layer }),
          ...this.rows[i],
        ]),
      ),
    );
  }

  thumbnail(layer, head, i, j) {
    const button = element("button", {
      type: "button",
      class: "kt-thumbnail",
      title: `layer ${layer}, head ${head}`,
      "aria-label": `layer ${layer}, head ${head}`,
    });
    button.append(element("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" }));
    button.addEventListener("click", () => this.choose(i, j));
    return button;
  }

  /** One thumbnail is in the order of the Tab key; arrow keys go to the others. */
  mark() {
    const [layer, head] = this.options.selected ?? [-1, -1];
    const [tabLayer, tabHead] = this.options.selected ?? [0, 0];
    this.rows.forEach((row, i) =>
      row.forEach((button, j) => {
        button.setAttribute("aria-pressed", String(i === layer && j === head));
        button.tabIndex = i === tabLayer && j === tabHead ? 0 : -1;
        button.classList.toggle("kt-off", Boolean(this.options.off?.(i, j)));
      }),
    );
  }

  choose(layer, head) {
    this.options.selected = [layer, head];
    this.mark();
    this.options.onSelect?.(layer, head);
  }

  press(event) {
    const layer = this.rows.findIndex((row) => row.includes(document.activeElement));
    if (layer < 0) return;
    const head = this.rows[layer].indexOf(document.activeElement);
    const moves = {
      ArrowUp: [layer - 1, head],
      ArrowDown: [layer + 1, head],
      ArrowLeft: [layer, head - 1],
      ArrowRight: [layer, head + 1],
    };
    const [i, j] = moves[event.key] ?? [];
    const button = this.rows[i]?.[Math.min(j, this.rows[i].length - 1)];
    if (!button) return;
    event.preventDefault();
    button.focus();
  }

  paint() {
    const { values, kind, maximum } = this.options;
    const colors = ramp(this.element, kind);
    this.rows.forEach((row, i) =>
      row.forEach((button, j) => {
        const found = values(i, j);
        const context = button.firstChild.getContext("2d");
        context.clearRect(0, 0, SIDE, SIDE);
        if (!found) return;
        const small = pooled(found, kind);
        const image = painted(small.values, ...small.shape, limits(small.values, kind, maximum), colors);
        context.imageSmoothingEnabled = false;
        context.drawImage(image, 0, 0, SIDE, SIDE);
      }),
    );
  }
}

function names(given) {
  return typeof given === "number" ? Array.from({ length: given }, (_, i) => String(i)) : given.map(String);
}

/** The largest value of each block, so that a single bright cell of a long text stays visible. */
function pooled({ shape: [rows, columns], values }, kind) {
  if (rows <= SIDE && columns <= SIDE) return { shape: [rows, columns], values };
  const shape = [Math.min(rows, SIDE), Math.min(columns, SIDE)];
  const result = new Float32Array(shape[0] * shape[1]).fill(-Infinity);
  for (let i = 0; i < rows; i += 1) {
    const row = Math.floor((i * shape[0]) / rows);
    for (let j = 0; j < columns; j += 1) {
      const place = row * shape[1] + Math.floor((j * shape[1]) / columns);
      const value = values[i * columns + j];
      const isLarger = kind === "signed" ? Math.abs(value) > Math.abs(result[place]) : value > result[place];
      if (isLarger || result[place] === -Infinity) result[place] = value;
    }
  }
  return { shape, values: result };
}
