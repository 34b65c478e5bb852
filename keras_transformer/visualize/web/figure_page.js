// The page of a figure: its title, one of the views below, and what to know when reading it.

import { bars } from "./bars.js";
import { element } from "./dom.js";
import { grid } from "./grid.js";
import { lens } from "./lens.js";
import { lines } from "./lines.js";
import { matrix } from "./matrix.js";
import { picture } from "./picture.js";
import { decode, slice } from "./tensor.js";
import { tree } from "./tree.js";

/** Builds the page. `data` is what `Figure.html` embeds. */
export function start({ title, view, notes, data }) {
  const main = element("main", { class: "kt-page" });
  document.body.append(main);
  main.append(element("h1", { class: "kt-page-title", text: title }));
  VIEWS[view](main, revived(data));
  main.append(...notes.map((note) => element("p", { class: "kt-note", text: note })));
}

/** Decodes the tensors of nested objects and lists. */
function revived(data) {
  if (Array.isArray(data)) return data.map(revived);
  if (data === null || typeof data !== "object") return data;
  if ("dtype" in data && "shape" in data && "data" in data) return decode(data);
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, revived(value)]));
}

/** A labeled list of choices; calls `onChange` with the index chosen. */
function chooser(name, choices, selected, onChange) {
  const select = element("select", {}, choices.map((text, i) => element("option", { value: i, text })));
  select.value = selected;
  select.addEventListener("change", () => onChange(Number(select.value)));
  const label = element("label", { class: "kt-chooser" }, [element("span", { text: name }), select]);
  label.hidden = choices.length < 2;
  return { element: label, select };
}

function matrixOptions(shown) {
  return {
    rows: shown.row_pairs ?? shown.rows,
    columns: shown.columns,
    values: shown.values.values,
    title: shown.title,
    kind: shown.signed ? "signed" : "weights",
    rowName: shown.row_name,
    columnName: shown.column_name,
  };
}

function matrices(main, { matrices: shown }) {
  const longest = Math.max(...shown.map((one) => one.values.shape[1]));
  const isMany = shown.length > 1 && longest <= 64;
  const box = element("div", { class: isMany ? "kt-gallery" : "kt-stack" });
  main.append(box);
  for (const one of shown) {
    const place = element("div", {});
    box.append(place);
    matrix(place, { ...matrixOptions(one), height: isMany ? 460 : 680 });
  }
}

function layerNames(weights) {
  return weights.map((_, i) => `layer ${i}`);
}

function headView(main, { attentions, layer }) {
  const state = { kind: 0, layer };
  const bar = element("div", { class: "kt-bar-of-choices" });
  const place = element("div", {});
  main.append(bar, place);
  let view = null;
  function show() {
    const { rows, row_pairs, columns, row_name: leftName, column_name: rightName, weights } = attentions[state.kind];
    state.layer = Math.min(state.layer, weights.length - 1);
    const choices = [
      chooser("Attention", attentions.map(({ name }) => name), state.kind, (kind) => change({ kind })),
      chooser("Layer", layerNames(weights), state.layer, (next) => change({ layer: next })),
    ];
    bar.replaceChildren(...choices.map((choice) => choice.element));
    const heads = weights[state.layer];
    const options = {
      left: row_pairs ?? rows,
      right: columns,
      leftName,
      rightName,
      heads: Array.from({ length: heads.shape[0] }, (_, i) => ({ name: String(i), values: slice(heads, i).values })),
    };
    if (view) view.update(options);
    else view = lines(place, options);
  }
  function change(next) {
    if ("kind" in next) view?.update({ selected: null });
    Object.assign(state, next);
    show();
  }
  show();
}

function modelView(main, { attentions }) {
  const bar = element("div", { class: "kt-bar-of-choices" });
  const places = [element("div", {}), element("div", { class: "kt-model-matrix" })];
  main.append(bar, element("div", { class: "kt-model-view" }, places));
  let thumbnails = null;
  let large = null;
  function choose(kind, layer, head) {
    const { name, weights } = attentions[kind];
    const shown = { ...attentions[kind], title: `${name}, layer ${layer}, head ${head}` };
    const options = matrixOptions({ ...shown, values: slice(weights[layer], head) });
    if (large) large.update({ ...options, selected: null });
    else large = matrix(places[1], options);
  }
  function show(kind) {
    const { weights } = attentions[kind];
    const options = {
      layers: weights.length,
      heads: (layer) => weights[layer].shape[0],
      values: (layer, head) => slice(weights[layer], head),
      selected: [0, 0],
      onSelect: (layer, head) => choose(kind, layer, head),
    };
    if (thumbnails) thumbnails.update(options);
    else thumbnails = grid(places[0], options);
    choose(kind, 0, 0);
  }
  bar.append(chooser("Attention", attentions.map(({ name }) => name), 0, show).element);
  show(0);
}

function pictureView(main, { pixels, maps, selected }) {
  const place = element("div", {});
  const options = (index) => ({ pixels, heat: maps[index].values, title: maps[index].title });
  const titles = maps.map(({ title }) => title);
  main.append(chooser("Weights", titles, selected, (index) => view.update(options(index))).element, place);
  const view = picture(place, options(selected));
}

const VIEWS = {
  matrices,
  head_view: headView,
  model_view: modelView,
  lens: (main, data) => lens(main, { ...data, title: undefined }),
  bars: (main, { groups }) => groups.forEach((group) => bars(main, group)),
  tree: (main, data) => tree(main, data),
  picture: pictureView,
};
