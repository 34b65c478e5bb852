// Vectors of tokens as strips of color, one row a token, whose numbers are read by mouse or arrows.

import { number, uniqueId, visible } from "/web/dom.js";
import { limits, onTheme } from "/web/theme.js";
import { paintInto } from "./heat.js";
import { clear, el } from "./make.js";
import { t } from "./strings.js";

const WIDEST_CELL = 24; // pixels

// Draws (T, D) values: `rows` names the T rows, `title` says what they are; `selected` is marked. `kind` is
// "signed", or "weights" for numbers that start at 0.
export function strip(parent, { rows, width, values, title, note = "", selected = null, onSelect, tall = 18, kind = "signed" }) {
  const readout = el("output", { class: "strip-readout", id: uniqueId("readout") });
  const canvas = el("canvas", {
    class: "strip-canvas",
    tabIndex: 0,
    role: "img",
    "aria-label": t("strip.label", { title, rows: rows.length, width }),
    "aria-describedby": readout.id,
  });
  const labels = el("div", { class: "strip-labels", "aria-hidden": "true" });
  const element = el(
    "figure",
    { class: "strip" },
    el("figcaption", {}, el("b", {}, title), note ? el("span", { class: "note" }, note) : null),
    el("div", { class: "strip-body" }, labels, canvas),
    readout,
  );
  const state = { row: selected ?? 0, column: 0, rows, width, values, selected };

  const show = () => {
    const { row, column } = state;
    const value = state.values[row * state.width + column];
    readout.textContent = t("strip.cell", {
      token: visible(state.rows[row] ?? ""), column, value: number(value, 4),
    });
  };
  const rest = () => {
    readout.textContent = t(`strip.range.${kind}`, {
      size: number(limits(state.values, kind)[1], 2), width: state.width,
    });
  };
  const draw = () => {
    paintInto(canvas, state.values, state.rows.length, state.width, kind);
    const height = rowHeight(state.rows.length, tall);
    canvas.style.height = `${height * state.rows.length}px`;
    canvas.style.maxWidth = `${WIDEST_CELL * state.width}px`;
    clear(labels, state.rows.map((text, row) => {
      const isMarked = row === state.selected;
      return el("span", { class: isMarked ? "marked" : "" }, visible(text));
    }));
    labels.style.lineHeight = `${height}px`;
    labels.style.fontSize = `${Math.min(12, height - 1)}px`;
    labels.hidden = height < 9;
    rest();
  };

  canvas.addEventListener("mousemove", (event) => {
    const box = canvas.getBoundingClientRect();
    const within = (position, size, count) =>
      Math.max(0, Math.min(count - 1, Math.floor((position / size) * count)));
    state.row = within(event.clientY - box.top, box.height, state.rows.length);
    state.column = within(event.clientX - box.left, box.width, state.width);
    show();
  });
  canvas.addEventListener("mouseleave", rest);
  canvas.addEventListener("focus", show);
  canvas.addEventListener("blur", rest);
  canvas.addEventListener("click", () => onSelect?.(state.row));
  canvas.addEventListener("keydown", (event) => moveBy(event, state, show, onSelect));
  parent.append(element);
  draw();
  onTheme(element, draw);
  return {
    element,
    update(options) {
      Object.assign(state, options);
      state.row = Math.min(state.row, state.rows.length - 1);
      state.column = Math.min(state.column, state.width - 1);
      draw();
    },
  };
}

function moveBy(event, state, show, onSelect) {
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  if (event.key === "Enter") onSelect?.(state.row);
  if (!(event.key in moves)) return;
  event.preventDefault();
  const [down, right] = moves[event.key];
  state.row = Math.max(0, Math.min(state.rows.length - 1, state.row + down));
  state.column = Math.max(0, Math.min(state.width - 1, state.column + right));
  show();
}

function rowHeight(count, tall) {
  return Math.max(3, Math.min(tall, Math.floor(640 / count)));
}
