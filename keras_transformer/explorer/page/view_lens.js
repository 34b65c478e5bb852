// The logit lens: the words that the last layer would choose if it got each layer's output.

import { bars } from "/web/bars.js";
import { visible } from "/web/dom.js";
import { part } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { clear, el, percent } from "./make.js";
import { t } from "./strings.js";

export function lensView(app) {
  const element = el("div", {});
  const showInElement = drawer(element);
  let chosen = null;

  const draw = async () => {
    const { recording } = app.state;
    if (!recording) return;
    await showInElement(() => app.attempt(recording.lens()), (lens) => {
      if (lens) show(lens);
      else clear(element, el("p", { class: "note" }, t("error.not_embedded")));
    });
  };

  const show = ({ layers, top }) => {
    const row = Math.min(chosen?.[1] ?? app.row, app.rows.length - 1);
    chosen = [Math.min(chosen?.[0] ?? layers.length - 1, layers.length - 1), row];
    const detail = el("div", { class: "lens-detail" });
    const best = bars(detail, { items: [], maximum: 1, format: percent });
    const buttons = [];
    const choose = (layer, position, focus) => {
      chosen = [layer, position];
      mark();
      if (focus) buttons[layer][position].focus();
    };
    const mark = () => {
      buttons.forEach((line, layer) => line.forEach((button, position) => {
        const isChosen = layer === chosen[0] && position === chosen[1];
        button.setAttribute("aria-pressed", String(isChosen));
        button.tabIndex = isChosen ? 0 : -1;
      }));
      best.update({
        title: t("lens.detail", {
          layer: layerName(chosen[0], layers), token: visible(app.rows[chosen[1]].text),
        }),
        items: top[chosen[0]][chosen[1]].map(({ text, probability }) =>
          ({ label: text, value: probability })),
      });
    };
    const table = lensTable(app.rows, layers, top, buttons, choose);
    table.addEventListener("keydown", (event) => {
      const moves = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
      if (!(event.key in moves)) return;
      event.preventDefault();
      const layer = chosen[0] + moves[event.key][0];
      const position = chosen[1] + moves[event.key][1];
      if (buttons[layer]?.[position]) choose(layer, position, true);
    });
    clear(element, part("lens", t("lens.title"), t("lens.note"),
      el("div", { class: "split" }, el("div", { class: "scroll", tabIndex: 0, role: "region",
        "aria-label": t("lens.title") }, table), detail)));
    mark();
  };

  return {
    element,
    update(names) {
      if (names?.has("row")) chosen = null;
      if (concerns(names, "recording", "row")) draw();
    },
  };
}

function layerName(index, layers) {
  return index === 0 ? t("lens.embedding") : t("lens.layer", { layer: index, name: layers[index] });
}

// The last layer on top, as the text flows upward into words.
function lensTable(rows, layers, top, buttons, choose) {
  layers.forEach(() => buttons.push([]));
  const lines = layers.map((_, index) => layers.length - 1 - index).map((layer) =>
    el("tr", {}, el("th", { scope: "row" }, layerName(layer, layers)),
      top[layer].map(([first], position) => {
        const button = el("button", { type: "button", class: "lens-cell",
          onclick: () => choose(layer, position, true) }, el("bdi", {}, visible(first.text)));
        button.style.setProperty("--share", `${Math.round(100 * first.probability)}%`);
        buttons[layer].push(button);
        return el("td", {}, button);
      })));
  return el("table", { class: "lens" }, el("thead", {}, el("tr", {},
    el("th", { scope: "col" }, t("lens.reads")),
    rows.map(({ text }) => el("th", { scope: "col" }, el("bdi", {}, visible(text)))))),
  el("tbody", {}, lines));
}
