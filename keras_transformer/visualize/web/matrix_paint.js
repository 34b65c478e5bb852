// The numbers in the cells of a matrix, and the labels of its axes.

import { shortened } from "./dom.js";
import { color } from "./theme.js";

export const LABEL_SIZE = 12;

/** Returns the font of labels. */
export function fontOf(parent) {
  return `${LABEL_SIZE}px ${color(parent, "--kt-font")}`;
}

/** Writes each cell's number into it; `view` is the matrix. */
export function paintNumbers(context, view) {
  const { values, kind } = view.options;
  const { size, columns, colors } = view;
  const [low, high] = view.limits;
  context.font = `10px ${color(view.element, "--kt-font")}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let i = 0; i < values.length; i += 1) {
    if (!Number.isFinite(values[i])) continue;
    const at = 3 * Math.round(255 * Math.min(1, Math.max(0, (values[i] - low) / (high - low))));
    const [red, green, blue] = colors.subarray(at, at + 3);
    context.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#10131a" : "#ffffff";
    const place = [((i % columns.length) + 0.5) * size, (Math.floor(i / columns.length) + 0.5) * size];
    const digits = Math.abs(values[i]) >= 10 || kind === "signed" ? 1 : 2;
    context.fillText(values[i].toFixed(digits).replace("-", "−"), ...place);
  }
}

/** Writes the labels of both axes, of small cells only some; `offset` is how far is scrolled. */
export function paintLabels(context, view, offset) {
  context.font = fontOf(view.element);
  context.textBaseline = "middle";
  context.direction = "ltr";
  paintAxis(context, view, offset, true);
  paintAxis(context, view, offset, false);
}

function paintAxis(context, view, [x, y], isRow) {
  const { size, shown, left, top } = view;
  const labels = isRow ? view.rows : view.columns;
  const chosen = view.cell?.[isRow ? 0 : 1];
  const [before, extent, room, scrolled] = isRow ? [top, shown[1], left, y] : [left, shown[0], top, x];
  const step = Math.max(1, Math.ceil((LABEL_SIZE + 1) / size));
  const colors = [color(view.element, "--kt-text"), color(view.element, "--kt-accent")];
  for (let i = 0; i < labels.length; i += 1) {
    // The label of the cell pointed at takes the place of its neighbors.
    const isNear = chosen !== undefined && i !== chosen && Math.abs(i - chosen) < step;
    if ((i % step && i !== chosen) || (step > 1 && isNear)) continue;
    const place = before + (i + 0.5) * size - scrolled;
    if (place < before || place > extent) continue;
    context.save();
    context.fillStyle = colors[i === chosen ? 1 : 0];
    context.textAlign = isRow ? "right" : "left";
    context.translate(isRow ? 0 : place, isRow ? place : 0);
    if (!isRow) context.rotate(-Math.PI / 2);
    context.fillText(shortened(context, labels[i], room - 8), isRow ? room - 5 : 5 - room, 0);
    context.restore();
  }
}
