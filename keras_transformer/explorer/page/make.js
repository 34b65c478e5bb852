// Small helpers to build the page. Text of models and people goes in as text, never as markup.

// An element with properties, attributes ("aria-…", "data-…", role, for, …), listeners and children.
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-") && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export function clear(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

export function percent(value) {
  if (value > 0 && value < 0.0005) return "<0.1%";
  return `${(100 * value).toFixed(1)}%`;
}

export function prefersReducedMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

// A local setting, where the browser has a place for it.
export function remembered(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(`keras_transformer.${name}`, value);
    return localStorage.getItem(`keras_transformer.${name}`);
  } catch {
    return null;
  }
}

const FOCUSABLE = "button, input, select, textarea, [tabindex]";

// Draws the children of an element anew; whoever was on one of them by keyboard stays there.
export function redraw(root, build) {
  const active = document.activeElement;
  const place = root.contains(active) && active !== root ? placeOf(root, active) : null;
  root.replaceChildren();
  build();
  if (place === null) return;
  const part = place.part ? root.querySelector(`[data-part="${place.part}"]`) : root;
  part?.querySelectorAll(FOCUSABLE)[place.index]?.focus({ preventScroll: true });
}

function placeOf(root, active) {
  const part = active.closest("[data-part]");
  const isInside = part !== null && part !== root && root.contains(part);
  const all = [...(isInside ? part : root).querySelectorAll(FOCUSABLE)];
  return { part: isInside ? part.dataset.part : null, index: all.indexOf(active) };
}
