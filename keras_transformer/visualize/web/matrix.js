// A heat map with tokens on both axes, of which every cell can be read, by mouse or by keyboard.

import { element, labeled, number, onceAFrame, say } from "./dom.js";
import { LABEL_SIZE, fontOf, paintLabels, paintNumbers } from "./matrix_paint.js";
import { color, hatched, limits, onTheme, painted, ramp } from "./theme.js";

const LARGEST_CELL = 44;
const SMALLEST_CELL = 3;
const ZOOMED_COLUMNS = 40;
const LONGEST_LABEL = 110;

/**
 * Shows a matrix.
 *
 * @param {Element} parent - Where to append it.
 * @param {object} options
 *   rows, columns: labels, or numbers of rows and columns without labels;
 *   values: row by row; minus infinity is masked;
 *   title: what the matrix shows;
 *   kind: "weights" (0 to the largest) or "signed" (symmetric around 0);
 *   maximum: the value of the strongest color, by default the largest one;
 *   height: the most pixels to take, beyond which it scrolls; cell: pixels of a cell;
 *   rowName, columnName: what rows and columns are, for the line that reads a cell out;
 *   selected: [row, column]; onSelect(row, column): called on a click or Enter.
 * @returns {{element: Element, update: function(object)}} `update` changes some of the options.
 */
export function matrix(parent, options) {
  const view = new MatrixView(options);
  parent.append(view.element);
  view.update({});
  return { element: view.element, update: (changes) => view.update(changes) };
}

class MatrixView {
  constructor(options) {
    this.options = { kind: "weights", height: 640, rowName: "row", columnName: "column", ...options };
    this.caption = element("figcaption", { class: "kt-title" });
    this.canvas = element("canvas", { class: "kt-matrix-canvas", tabindex: 0, role: "application" });
    this.canvas.setAttribute("aria-roledescription", "heat map");
    // As large as the whole matrix; the canvas, as large as the part in sight, sticks to its corner.
    this.whole = element("div", {}, [this.canvas]);
    this.scroller = element("div", { class: "kt-matrix-scroller" }, [this.whole]);
    this.readout = element("output", { class: "kt-readout", "aria-live": "polite" });
    this.legend = element("span", { class: "kt-legend" });
    this.zoom = element("span", { class: "kt-zoom" }, [
      ...[["−", 1 / 1.5], ["+", 1.5]].map(([text, factor]) => {
        const label = say(factor > 1 ? "larger cells" : "smaller cells");
        const zoom = () => this.enlarge(factor);
        return element("button", { type: "button", class: "kt-button", text, "aria-label": label, onclick: zoom });
      }),
    ]);
    const end = element("span", { class: "kt-legend" }, [this.zoom, this.legend]);
    const foot = element("div", { class: "kt-foot" }, [this.readout, end]);
    this.element = element("figure", { class: "kt-matrix" }, [this.caption, this.scroller, foot]);
    this.cell = null;
    this.draw = onceAFrame(() => this.paint());
    this.listen();
    onTheme(this.element, () => this.update({}));
    new ResizeObserver(() => this.resized()).observe(this.element);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointermove", (event) => this.point(this.cellAt(event)));
    canvas.addEventListener("pointerleave", () => this.point(this.options.selected ?? null));
    canvas.addEventListener("click", (event) => this.choose(this.cellAt(event)));
    canvas.addEventListener("keydown", (event) => this.press(event));
    canvas.addEventListener("focus", () => this.point(this.cell ?? this.options.selected ?? [0, 0]));
    this.scroller.addEventListener("scroll", this.draw);
  }

  update(changes) {
    Object.assign(this.options, changes);
    const { rows, columns, values, kind, maximum, title, selected } = this.options;
    this.rows = labeled(rows);
    this.columns = labeled(columns);
    this.caption.textContent = title ?? "";
    this.caption.hidden = !title;
    this.canvas.setAttribute(
      "aria-label",
      `${title ?? "Matrix"}: ${this.rows.length} × ${this.columns.length}; arrow keys read cells, plus and minus change their size`,
    );
    this.limits = limits(values, kind, maximum);
    this.colors = ramp(this.element, kind);
    this.image = painted(values, this.rows.length, this.columns.length, this.limits, this.colors);
    this.zoom.hidden = Math.max(this.columns.length, this.rows.length) < ZOOMED_COLUMNS;
    if ("selected" in changes) this.cell = selected ?? null;
    if (this.cell && !this.isCell(this.cell)) this.cell = null;
    this.layout();
    this.drawLegend();
    this.point(this.cell);
  }

  /** Changes the size of cells, and keeps the cell pointed at in sight. */
  enlarge(factor) {
    const size = Math.round(this.size * factor);
    this.options.cell = Math.max(1, Math.min(LARGEST_CELL, size === this.size ? size + Math.sign(factor - 1) : size));
    this.layout();
    this.reveal();
    this.draw();
  }

  resized() {
    if (Math.abs(this.element.clientWidth - (this.width ?? 0)) > 1) this.layout();
    this.draw();
  }

  /** Decides the size of a cell and of the labels' margins. */
  layout() {
    const { height, cell } = this.options;
    this.width = this.element.clientWidth;
    const context = this.canvas.getContext("2d");
    context.font = fontOf(this.element);
    const longest = (texts) =>
      texts.reduce((most, text) => Math.max(most, context.measureText(text).width), 0);
    this.left = Math.ceil(Math.min(LONGEST_LABEL, longest(this.rows)) + 8);
    this.top = Math.ceil(Math.min(LONGEST_LABEL, longest(this.columns)) + 8);
    const room = Math.max(120, this.width - this.left - 2);
    const fitting = Math.floor(room / Math.max(1, this.columns.length));
    const tall = Math.floor((height - this.top) / Math.max(1, this.rows.length));
    // Long texts may scroll, but a cell keeps a size that can be pointed at.
    const least = Math.min(LABEL_SIZE + 2, Math.max(SMALLEST_CELL, fitting));
    this.size = cell ?? Math.max(least, Math.min(LARGEST_CELL, fitting, Math.max(tall, LABEL_SIZE + 2)));
    const full = [this.left + this.columns.length * this.size + 1, this.top + this.rows.length * this.size + 1];
    this.shown = [Math.min(full[0], Math.max(this.width, 1)), Math.min(full[1], height)];
    this.scroller.style.height = `${this.shown[1] + (full[0] > this.shown[0] ? 14 : 0)}px`;
    this.scroller.style.width = `${Math.min(this.width, this.shown[0] + (full[1] > this.shown[1] ? 14 : 0))}px`;
    this.whole.style.width = `${full[0]}px`;
    this.whole.style.height = `${full[1]}px`;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.shown[0] * ratio);
    this.canvas.height = Math.round(this.shown[1] * ratio);
    this.canvas.style.width = `${this.shown[0]}px`;
    this.canvas.style.height = `${this.shown[1]}px`;
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, ...this.shown);
    const offset = [this.scroller.scrollLeft, this.scroller.scrollTop];
    context.save();
    context.beginPath();
    context.rect(this.left, this.top, this.shown[0] - this.left, this.shown[1] - this.top);
    context.clip();
    context.translate(this.left - offset[0], this.top - offset[1]);
    this.paintCells(context);
    context.restore();
    paintLabels(context, this, offset);
  }

  paintCells(context) {
    const { size, rows, columns } = this;
    const whole = [columns.length * size, rows.length * size];
    context.fillStyle = hatched(this.element, context);
    context.fillRect(0, 0, ...whole);
    context.imageSmoothingEnabled = false;
    if (rows.length && columns.length) context.drawImage(this.image, 0, 0, ...whole);
    context.strokeStyle = color(this.element, "--kt-border");
    context.lineWidth = 1;
    context.strokeRect(0.5, 0.5, whole[0] - 1, whole[1] - 1);
    if (size >= 36) paintNumbers(context, this);
    if (!this.cell) return;
    const [row, column] = this.cell;
    context.fillStyle = color(this.element, "--kt-cross");
    context.fillRect(0, row * size, whole[0], size);
    context.fillRect(column * size, 0, size, whole[1]);
    context.strokeStyle = color(this.element, "--kt-accent");
    context.lineWidth = 2;
    context.strokeRect(column * size, row * size, size, size);
  }

  drawLegend() {
    const [low, high, isCapped] = this.limits;
    const bar = element("span", { class: `kt-ramp kt-ramp-${this.options.kind}`, "aria-hidden": "true" });
    const digits = high < 0.1 ? 3 : 2;
    const texts = [
      `${isCapped && low < 0 ? "≤ " : ""}${number(low, digits)}`,
      `${isCapped ? "≥ " : ""}${number(high, digits)}`,
    ];
    const ends = texts.map((text) => element("span", { text }));
    this.legend.replaceChildren(ends[0], bar, ends[1]);
  }

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left - this.left;
    const y = event.clientY - box.top - this.top;
    if (x < 0 || y < 0) return null;
    const cell = [
      Math.floor((y + this.scroller.scrollTop) / this.size),
      Math.floor((x + this.scroller.scrollLeft) / this.size),
    ];
    return this.isCell(cell) ? cell : null;
  }

  isCell([row, column]) {
    return row >= 0 && column >= 0 && row < this.rows.length && column < this.columns.length;
  }

  point(cell) {
    this.cell = cell && this.isCell(cell) ? cell : null;
    this.readout.textContent = this.cell ? this.describe(...this.cell) : "";
    this.draw();
  }

  describe(row, column) {
    const { values, rowName, columnName } = this.options;
    const value = values[row * this.columns.length + column];
    const text = value === -Infinity ? say("masked") : number(value, 4);
    const names = [`${rowName} ${row}`, `${columnName} ${column}`];
    if (Array.isArray(this.options.rows)) names[0] += ` “${this.rows[row]}”`;
    if (Array.isArray(this.options.columns)) names[1] += ` “${this.columns[column]}”`;
    return `\u2068${names[0]}\u2069 → \u2068${names[1]}\u2069: ${text}`;
  }

  choose(cell) {
    if (!cell) return;
    this.options.selected = cell;
    this.point(cell);
    this.options.onSelect?.(...cell);
  }

  press(event) {
    const [row, column] = this.cell ?? [0, 0];
    const last = [this.rows.length - 1, this.columns.length - 1];
    const moves = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      PageUp: [Math.max(0, row - 10), column],
      PageDown: [Math.min(last[0], row + 10), column],
      Home: event.ctrlKey ? [0, 0] : [row, 0],
      End: event.ctrlKey ? last : [row, last[1]],
    };
    if (event.key === "Enter" || event.key === " ") this.choose([row, column]);
    else if (event.key === "+" || event.key === "-") this.enlarge(event.key === "+" ? 1.5 : 1 / 1.5);
    else if (event.key in moves) {
      if (this.isCell(moves[event.key])) this.point(moves[event.key]);
      this.reveal();
    } else return;
    event.preventDefault();
  }

  /** Scrolls so that the cell pointed at is seen. */
  reveal() {
    if (!this.cell) return;
    const { scroller, size } = this;
    const [y, x] = this.cell.map((index) => index * size);
    const room = [this.shown[0] - this.left, this.shown[1] - this.top];
    if (x < scroller.scrollLeft) scroller.scrollLeft = x;
    if (x + size > scroller.scrollLeft + room[0]) scroller.scrollLeft = x + size - room[0];
    if (y < scroller.scrollTop) scroller.scrollTop = y;
    if (y + size > scroller.scrollTop + room[1]) scroller.scrollTop = y + size - room[1];
  }
}
