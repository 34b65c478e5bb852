// Horizontal bars with their numbers.

import { element, number, tokenSpan } from "./dom.js";

/**
 * Shows one bar for each item; an update moves the bars that are there.
 *
 * @param {Element} parent - Where to append it.
 * @param {object} options
 *   items: [{label, value, note, faded}]; values may be negative;
 *   title: what the bars show; maximum: the value of a full bar, by default the largest size;
 *   format(value): text of a number, by default three digits;
 *   selected: index of the item chosen; onSelect(index): makes the bars buttons.
 * @returns {{element: Element, update: function(object)}}
 */
export function bars(parent, options) {
  const view = new BarsView(options);
  parent.append(view.element);
  view.update({});
  return { element: view.element, update: (changes) => view.update(changes) };
}

class BarsView {
  constructor(options) {
    this.options = { format: (value) => number(value, 3), ...options };
    this.caption = element("figcaption", { class: "kt-title" });
    this.list = element("ol", { class: "kt-bars-list" });
    this.element = element("figure", { class: "kt-bars" }, [this.caption, this.list]);
    this.rows = [];
  }

  update(changes) {
    Object.assign(this.options, changes);
    const { items, title, maximum } = this.options;
    this.caption.textContent = title ?? "";
    this.caption.hidden = !title;
    while (this.rows.length < items.length) this.rows.push(this.makeRow(this.rows.length));
    while (this.rows.length > items.length) this.rows.pop().item.remove();
    const sizes = items.map(({ value }) => Math.abs(value)).filter((size) => size < Infinity);
    const largest = maximum ?? (Math.max(0, ...sizes) || 1);
    const isSigned = items.some(({ value }) => value < 0 && value > -Infinity);
    this.list.classList.toggle("kt-signed", isSigned);
    items.forEach((item, i) => this.fill(this.rows[i], item, i, largest));
  }

  makeRow(index) {
    const { onSelect } = this.options;
    const label = tokenSpan("", "kt-bar-label");
    const bar = element("span", { class: "kt-bar" });
    const track = element("span", { class: "kt-bar-track", "aria-hidden": "true" }, [bar]);
    const value = element("span", { class: "kt-bar-number" });
    const note = element("span", { class: "kt-bar-note" });
    const inner = element(onSelect ? "button" : "div", { class: "kt-bar-row" }, [label, track, value, note]);
    if (onSelect) {
      inner.type = "button";
      inner.addEventListener("click", () => this.options.onSelect(index));
    }
    const item = element("li", {}, [inner]);
    this.list.append(item);
    return { item, inner, label, bar, value, note };
  }

  fill(row, { label, value, note, faded }, index, largest) {
    const text = tokenSpan(label).textContent;
    if (row.label.textContent !== text) {
      row.label.textContent = text;
      row.label.title = text;
    }
    const size = Number.isFinite(value) ? Math.min(1, Math.abs(value) / largest) : 0;
    row.bar.style.setProperty("--kt-size", size.toFixed(4));
    row.bar.classList.toggle("kt-negative", value < 0);
    row.value.textContent = this.options.format(value);
    row.note.textContent = note ?? "";
    row.note.hidden = !note;
    row.inner.classList.toggle("kt-faded", Boolean(faded));
    const isSelected = this.options.selected === index;
    row.inner.classList.toggle("kt-chosen", isSelected);
    if (this.options.onSelect) row.inner.setAttribute("aria-pressed", String(isSelected));
  }
}
