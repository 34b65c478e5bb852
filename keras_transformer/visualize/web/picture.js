// A picture under a heat map of its patches.

import { element, number, say, uniqueId } from "./dom.js";
import { limits } from "./theme.js";

const SIDE = 384;

/**
 * Shows a picture with weights over its patches.
 *
 * @param {Element} parent - Where to append it.
 * @param {object} options
 *   pixels: {shape: [height, width, 3], values} with values in [0, 1];
 *   heat: {shape: [rows, columns], values}, weights of the patches;
 *   title; strength: how much of the picture the weights cover, 0 to 1.
 * @returns {{element: Element, update: function(object)}}
 */
export function picture(parent, options) {
  const view = new PictureView(options);
  parent.append(view.element);
  view.update({});
  return { element: view.element, update: (changes) => view.update(changes) };
}

class PictureView {
  constructor(options) {
    this.options = { strength: 0.7, ...options };
    this.cell = [0, 0];
    this.caption = element("figcaption", { class: "kt-title" });
    this.canvas = element("canvas", { class: "kt-picture-canvas", tabindex: 0, role: "application" });
    this.canvas.setAttribute("aria-roledescription", "heat map over a picture");
    const id = uniqueId("strength");
    this.slider = element("input", { id, type: "range", min: 0, max: 1, step: 0.05 });
    this.slider.addEventListener("input", () => this.update({ strength: Number(this.slider.value) }));
    const label = element("label", { for: id, text: `${say("Weights over the picture")} ` });
    this.readout = element("output", { class: "kt-readout", "aria-live": "polite" });
    const controls = element("div", { class: "kt-foot" }, [element("span", {}, [label, this.slider])]);
    const parts = [this.caption, this.canvas, this.readout, controls];
    this.element = element("figure", { class: "kt-picture" }, parts);
    this.canvas.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    this.canvas.addEventListener("keydown", (event) => this.press(event));
    this.canvas.addEventListener("focus", () => this.point(this.cell));
  }

  update(changes) {
    Object.assign(this.options, changes);
    const { title, pixels, strength } = this.options;
    this.caption.textContent = title ?? "";
    this.caption.hidden = !title;
    this.canvas.setAttribute("aria-label", `${title ?? "Picture"}; arrow keys read the patches`);
    this.slider.value = strength;
    const [height, width] = pixels.shape;
    this.scale = Math.max(1, Math.floor(SIDE / Math.max(height, width)));
    this.canvas.width = width * this.scale;
    this.canvas.height = height * this.scale;
    this.paint(null);
  }

  paint(cell) {
    const { pixels, heat, strength } = this.options;
    const [height, width] = pixels.shape;
    const [rows, columns] = heat.shape;
    const [, high] = limits(heat.values, "weights");
    const small = element("canvas", { width, height });
    const brush = small.getContext("2d");
    const image = brush.createImageData(width, height);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const patch = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
        // Patches without weight turn dark, as under a lamp; the picture's own colors stay.
        const light = 1 - strength * (1 - heat.values[patch] / high);
        const at = y * width + x;
        for (let c = 0; c < 3; c += 1) image.data[4 * at + c] = 255 * pixels.values[3 * at + c] * light;
        image.data[4 * at + 3] = 255;
      }
    }
    brush.putImageData(image, 0, 0);
    const context = this.canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, this.canvas.width, this.canvas.height);
    if (!cell) return;
    const side = [this.canvas.width / columns, this.canvas.height / rows];
    context.strokeStyle = "#ff7a2e";
    context.lineWidth = 3;
    context.strokeRect(cell[1] * side[0] + 1, cell[0] * side[1] + 1, side[0] - 2, side[1] - 2);
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [rows, columns] = this.options.heat.shape;
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    return row >= 0 && column >= 0 && row < rows && column < columns ? [row, column] : null;
  }

  point(cell) {
    if (cell) this.cell = cell;
    const [, columns] = this.options.heat.shape;
    const value = cell ? this.options.heat.values[cell[0] * columns + cell[1]] : null;
    this.readout.textContent = cell ? say("patch {row}, {column}: {value}", { row: cell[0], column: cell[1], value: number(value, 4) }) : "";
    this.paint(cell);
  }

  press(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const [rows, columns] = this.options.heat.shape;
    const [row, column] = [this.cell[0] + step[0], this.cell[1] + step[1]];
    if (row >= 0 && column >= 0 && row < rows && column < columns) this.point([row, column]);
  }
}
