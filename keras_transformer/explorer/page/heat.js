// Painting of numbers as colors, one pixel a cell, which CSS enlarges without smoothing.

import { limits, painted, ramp } from "/web/theme.js";

export function paintInto(canvas, values, rows, columns, kind, maximum = undefined) {
  // The page's root has the colors even while the canvas is not yet in the page.
  const colors = ramp(document.documentElement, kind);
  const image = painted(values, rows, columns, limits(values, kind, maximum), colors);
  canvas.width = Math.max(1, columns);
  canvas.height = Math.max(1, rows);
  if (rows && columns) canvas.getContext("2d").drawImage(image, 0, 0);
}
