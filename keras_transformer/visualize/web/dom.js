// Elements, text and numbers, as every component makes them. Text only ever enters a page as text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an element.
 *
 * @param {string} tag - The tag; "svg:path" creates an element of SVG.
 * @param {object} attributes - Attributes; `text` is the text, `class` the class, functions named
 *   `onclick` and so on are listeners. Undefined, null and false leave an attribute out.
 * @param {Array} children - Elements, or strings that become text.
 */
export function element(tag, attributes = {}, children = []) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS(SVG, tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

let translate = (text) => text;

/** Sets how the components' own words are translated: a function of the English text. */
export function setTranslation(other) {
  translate = other;
}

/** Returns one of the components' own texts, translated, with {name} replaced by values. */
export function say(text, values = {}) {
  return translate(text).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;
const NAMES = new Map([["\n", "⏎"], ["\t", "⇥"]]);

/**
 * Makes a token visible: control characters, which could also turn the text around them, appear by
 * their names, spaces at the ends as open boxes, and marks that combine get a circle to stand on.
 */
export function visible(token) {
  const text = String(token);
  if (text === "") return "∅";
  const named = text.replace(
    INVISIBLE,
    (sign) => NAMES.get(sign) ?? `U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`,
  );
  const boxed = named.replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
  return /^\p{M}/u.test(boxed) ? `◌${boxed}` : boxed;
}

/**
 * Returns the text of a label: a token made visible, or "reads → writes" of a pair of tokens, each
 * isolated from the other's direction of writing.
 */
export function labelOf(token) {
  if (!Array.isArray(token)) return visible(token);
  return token.map((part) => `\u2068${visible(part)}\u2069`).join(" → ");
}

/** Returns the labels of an axis: those of tokens, or the numbers below a number. */
export function labeled(labels) {
  if (typeof labels === "number") return Array.from({ length: labels }, (_, i) => String(i));
  return labels.map(labelOf);
}

/** Creates a span that shows a token, or a pair of them, whichever way its script runs. */
export function tokenSpan(token, className = "kt-token") {
  const text = labelOf(token);
  return element("span", { class: className, dir: Array.isArray(token) ? "ltr" : "auto", title: text, text });
}

/** Formats a number for reading: few digits, with a real minus sign. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === -Infinity) return "−∞";
  if (value === Infinity) return "∞";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 0.5 * 10 ** -digits || size >= 1e5) ? value.toExponential(1) : value.toFixed(digits);
  return text.replaceAll("-", "−");
}

let count = 0;

/** Returns an id that no other element of the page has. */
export function uniqueId(prefix) {
  count += 1;
  return `kt-${prefix}-${count}`;
}

/** Returns a function that runs `draw` once before the next frame, however often it is called. */
export function onceAFrame(draw) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      draw();
    });
  };
}

/** Shortens a text to a width in pixels. */
export function shortened(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const signs = [...text];
  let low = 0;
  let high = signs.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${signs.slice(0, middle).join("")}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${signs.slice(0, low).join("")}…`;
}
