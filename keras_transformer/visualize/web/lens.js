// A table of layers and positions with the likeliest token in each cell: the logit lens.

import { element, labeled, number, tokenSpan, visible } from "./dom.js";

/**
 * Shows a logit lens.
 *
 * @param {Element} parent - Where to append it.
 * @param {object} options
 *   rows: names of the layers, from the first to the last; columns: the tokens read;
 *   tokens[row][column]: the likeliest tokens, best first;
 *   probabilities: {shape: [rows, columns, k], values}; title;
 *   selected: [row, column]; onSelect(row, column).
 * @returns {{element: Element, update: function(object)}}
 */
export function lens(parent, options) {
  const view = new LensView(options);
  parent.append(view.element);
  view.update({});
  return { element: view.element, update: (changes) => view.update(changes) };
}

class LensView {
  constructor(options) {
    this.options = { selected: [0, 0], ...options };
    this.caption = element("figcaption", { class: "kt-title" });
    this.table = element("table", { class: "kt-lens-table", role: "grid" });
    this.scroller = element("div", { class: "kt-lens-scroller" }, [this.table]);
    this.readout = element("output", { class: "kt-readout", "aria-live": "polite" });
    this.element = element("figure", { class: "kt-lens" }, [this.caption, this.scroller, this.readout]);
    this.table.addEventListener("keydown", (event) => this.press(event));
    this.table.addEventListener("pointerover", (event) => this.tell(placeOf(event)));
    this.table.addEventListener("focusin", (event) => this.tell(placeOf(event)));
    this.table.addEventListener("click", (event) => this.choose(placeOf(event)));
  }

  update(changes) {
    Object.assign(this.options, changes);
    const { rows, columns, title } = this.options;
    this.caption.textContent = title ?? "";
    this.caption.hidden = !title;
    this.table.setAttribute("aria-label", title ?? "Logit lens");
    const head = element("tr", {}, [
      element("th", { scope: "col", text: "layer" }),
      ...columns.map((token) => element("th", { scope: "col" }, [tokenSpan(token)])),
    ]);
    const names = labeled(rows);
    // The last layer on top, as models are drawn.
    const body = names.map((name, row) => this.makeRow(name, row)).reverse();
    this.cells = body.map((line) => [...line.querySelectorAll("td")]).reverse();
    this.table.replaceChildren(element("thead", {}, [head]), element("tbody", {}, body));
    this.mark();
  }

  makeRow(name, row) {
    const { columns, tokens, probabilities } = this.options;
    const [, width, k] = probabilities.shape;
    const cells = columns.map((_, column) => {
      const share = probabilities.values[(row * width + column) * k];
      const cell = element("td", { role: "gridcell", "data-row": row, "data-column": column }, [
        tokenSpan(tokens[row][column][0]),
      ]);
      cell.style.setProperty("--kt-share", `${Math.round(100 * share)}%`);
      return cell;
    });
    return element("tr", {}, [element("th", { scope: "row", text: name }), ...cells]);
  }

  mark() {
    const [row, column] = this.options.selected;
    this.cells.forEach((line, i) =>
      line.forEach((cell, j) => {
        const isChosen = i === row && j === column;
        cell.tabIndex = isChosen ? 0 : -1;
        cell.classList.toggle("kt-chosen", isChosen);
      }),
    );
  }

  tell(place) {
    if (!place) return;
    const [row, column] = place;
    const { rows, columns, tokens, probabilities } = this.options;
    const [, width, k] = probabilities.shape;
    const texts = tokens[row][column].map((token, i) => {
      const share = probabilities.values[(row * width + column) * k + i];
      return `\u2068${visible(token)}\u2069 ${number(share, 3)}`;
    });
    this.readout.textContent = `${labeled(rows)[row]}, after \u2068${visible(columns[column])}\u2069: ${texts.join(", ")}`;
  }

  choose(place) {
    if (!place) return;
    this.options.selected = place;
    this.mark();
    this.options.onSelect?.(...place);
  }

  press(event) {
    const place = placeOf(event);
    if (!place) return;
    const [row, column] = place;
    const moves = {
      ArrowUp: [row + 1, column],
      ArrowDown: [row - 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [row, 0],
      End: [row, this.cells[row].length - 1],
      Enter: place,
    };
    const [i, j] = moves[event.key] ?? [];
    if (!this.cells[i]?.[j]) return;
    event.preventDefault();
    this.choose([i, j]);
    this.cells[i][j].focus();
  }
}

function placeOf(event) {
  const cell = event.target.closest?.("td");
  return cell ? [Number(cell.dataset.row), Number(cell.dataset.column)] : null;
}
