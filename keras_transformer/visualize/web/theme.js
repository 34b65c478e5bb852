// Colors: read from the CSS variables of base.css, and read again when the theme changes.

const drawn = new Set();

function redrawAll() {
  for (const entry of drawn) {
    if (entry.element.isConnected) entry.draw();
    else drawn.delete(entry);
  }
}

let watches = false;

function watch() {
  if (watches) return;
  watches = true;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  new MutationObserver(redrawAll).observe(document.documentElement, {
    attributes: true,
    attributeFilter: ["data-theme", "class"],
  });
}

/** Calls `draw` whenever light turns to dark or back, for as long as the element is in the page. */
export function onTheme(element, draw) {
  watch();
  drawn.add({ element, draw });
}

/** Returns the value of a CSS variable of base.css, such as "--kt-text". */
export function color(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim() || "#888888";
}

function parsed(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

const KINDS = {
  weights: ["--kt-low", "--kt-middle", "--kt-high"],
  signed: ["--kt-negative", "--kt-zero", "--kt-positive"],
};

/**
 * Returns the 256 colors of a kind of number as bytes, three of each color.
 *
 * @param {Element} element - Any element of the page that base.css applies to.
 * @param {string} kind - "weights", from none to much, or "signed", symmetric around zero.
 */
export function ramp(element, kind) {
  const stops = (KINDS[kind] ?? KINDS.weights).map((name) => parsed(color(element, name)));
  const bytes = new Uint8ClampedArray(3 * 256);
  for (let i = 0; i < 256; i += 1) {
    const place = (i / 255) * 2;
    const from = stops[place < 1 ? 0 : 1];
    const to = stops[place < 1 ? 1 : 2];
    const share = place < 1 ? place : place - 1;
    for (let c = 0; c < 3; c += 1) bytes[3 * i + c] = from[c] + share * (to[c] - from[c]);
  }
  return bytes;
}

const MANY_CELLS = 64 * 64;
const SHARE_BELOW = 0.995;

/**
 * Returns the limits of the colors: 0 to the largest of weights, symmetric for signed numbers. Of
 * many numbers, half a percent are beyond the limits, since the few large ones, of a long text for
 * example, would leave all others without color; a third value tells whether that is so.
 */
export function limits(values, kind, maximum) {
  let largest = maximum ?? 0;
  if (maximum === undefined && values.length > MANY_CELLS) {
    const sizes = kind === "signed" ? Float32Array.from(values, Math.abs) : Float32Array.from(values);
    const sorted = sizes.filter((size) => size > 0 && size < Infinity).sort();
    const most = sorted[Math.floor(SHARE_BELOW * (sorted.length - 1))];
    if (most > 0) return [kind === "signed" ? -most : 0, most, sorted[sorted.length - 1] > most];
  }
  if (maximum === undefined) {
    for (const value of values) {
      const size = kind === "signed" ? Math.abs(value) : value;
      if (size > largest && size < Infinity) largest = size;
    }
  }
  largest = largest || 1;
  return kind === "signed" ? [-largest, largest, false] : [0, largest, false];
}

/** Paints values (rows times columns) into a canvas of one pixel each; masked cells stay clear. */
export function painted(values, rows, columns, [low, high], colors) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  if (!rows || !columns) return canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i += 1) {
    if (values[i] === -Infinity || Number.isNaN(values[i])) continue;
    const share = Math.min(1, Math.max(0, (values[i] - low) / (high - low)));
    const at = 3 * Math.round(255 * share);
    image.data[4 * i] = colors[at];
    image.data[4 * i + 1] = colors[at + 1];
    image.data[4 * i + 2] = colors[at + 2];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Returns the pattern of masked cells. */
export function hatched(parent, context) {
  const tile = document.createElement("canvas");
  tile.width = 6;
  tile.height = 6;
  const brush = tile.getContext("2d");
  brush.strokeStyle = color(parent, "--kt-mask");
  for (const shift of [-6, 0, 6]) {
    brush.moveTo(shift, 6);
    brush.lineTo(shift + 6, 0);
  }
  brush.stroke();
  return context.createPattern(tile, "repeat");
}

/** Returns the colors of heads, as many as there are, distinguishable and of equal lightness. */
export function headColors(element, count) {
  const lightness = color(element, "--kt-head-lightness");
  return Array.from({ length: count }, (_, i) => {
    const hue = count <= 8 ? (i * 360) / Math.max(count, 1) : i * 137.508;
    return `hsl(${Math.round(hue + 210) % 360} 72% ${lightness})`;
  });
}
