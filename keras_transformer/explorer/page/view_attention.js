// Attention: all heads of all layers, and the one chosen from query, key and value to its output.

import { slice } from "/web/tensor.js";
import { grid } from "/web/grid.js";
import { lines } from "/web/lines.js";
import { headsOff } from "./attention_heads_off.js";
import { headOutput, headVectors } from "./attention_vectors.js";
import { scoreMatrices } from "./attention_scores.js";
import { part, segments, stepper } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { append, el, redraw } from "./make.js";
import { attentionGroups, stacksOf } from "./names.js";
import { t } from "./strings.js";

export function attentionView(app) {
  const groups = attentionGroups(app.model);
  const head = el("div", { class: "bar" });
  const overview = el("div", { class: "split" });
  const detail = el("div", {});
  const element = el("div", {},
    el("p", { class: "caution" }, t("attention.caution")), head, overview, detail);
  const showInOverview = drawer(overview);
  const showInDetail = drawer(detail);
  let thumbnails = null;
  let pairs = null;
  let values = null; // (layer, head) => weights

  const chosen = () => chosenAttention(app, groups);
  // Names only what changes, so that only that is drawn anew.
  const choose = (layer, index) => app.set({
    ...(layer === app.state.layer ? {} : { layer }),
    ...(index === app.state.head ? {} : { head: index }),
  });

  const drawHead = () => {
    const { name, group, attention, layer, index } = chosen();
    const choices = [...groups.keys()].map((value) => ({ value, text: t(`group.${value}`) }));
    redraw(head, () => append(head, [
      choices.length < 2 ? null : segments({
        label: t("attention.choice"), options: choices, value: name,
        onChange: (value) => app.set({ group: value }),
      }),
      stepper({ label: t("layer"), count: group.length, value: layer,
        onChange: (value) => choose(value, index) }).element,
      stepper({ label: t("head"), count: attention.heads, value: index,
        onChange: (value) => choose(layer, value) }).element,
    ]));
  };

  const drawOverview = async () => {
    const { recording } = app.state;
    if (!recording) return;
    await showInOverview(
      () => app.attempt(recording.weights(chosen().name).catch(quiet)),
      (weights) => redraw(overview, () => showOverview(weights, chosen())));
  };

  const showOverview = (weights, { name, group, layer, index }) => {
    thumbnails = pairs = values = null;
    if (!weights) return overview.append(el("p", { class: "note" }, t("error.not_embedded")));
    values = (l, h) => slice(weights, l, h);
    const left = part("heads", t("attention.heads"), t("attention.heads.note"));
    const right = part("lines", t("attention.lines"), t(`attention.lines.${kindOf(name)}`));
    overview.append(left, right);
    thumbnails = grid(left, {
      layers: group.map((_, l) => t("layer.short", { layer: l + 1 })),
      heads: (l) => Array.from({ length: group[l].heads }, (_, h) =>
        t("head.short", { head: h + 1 })),
      values, selected: [layer, index], onSelect: choose,
      off: (l, h) => (app.state.ablate[group[l].path] ?? []).includes(h),
    });
    pairs = lines(right, linesOptions(app, name, group, values, layer, index));
  };

  const markOverview = (names) => {
    if (values === null) return;
    const { name, group, layer, index } = chosen();
    thumbnails.update({ selected: [layer, index] });
    pairs.update(names.has("layer")
      ? linesOptions(app, name, group, values, layer, index)
      : { shown: [index], selected: selectedRow(app, name) });
  };

  const drawDetail = async () => {
    const { recording } = app.state;
    if (!recording) return;
    const place = { ...chosen(), recording, texts: textsOf(recording, chosen().name) };
    await showInDetail(
      () => Promise.all([
        headVectors(app, place), scoreMatrices(app, place), headOutput(app, place),
      ].map((one) => app.attempt(one))),
      (parts) => redraw(detail, () => {
        for (const show of parts) show?.(detail);
        if (parts.includes(undefined)) {
          detail.append(el("p", { class: "note" }, t("error.not_embedded")));
        }
        headsOff(app, place, groups)?.(detail);
      }));
  };

  return {
    element,
    update(names) {
      if (!groups.size) return;
      if (concerns(names, "recording", "group", "layer", "head")) drawHead();
      if (concerns(names, "recording", "group")) drawOverview();
      else if (concerns(names, "layer", "head", "row")) markOverview(names);
      if (concerns(names, "recording", "group", "layer", "head", "row")) drawDetail();
    },
  };
}

function quiet(error) {
  if (error.status === 400) error.isQuiet = true;
  throw error;
}

function kindOf(name) {
  return name === "cross" ? "cross" : "self";
}

// The attention and the head in question; what was chosen elsewhere may be more than there are.
export function chosenAttention(app, groups) {
  const name = groups.has(app.state.group) ? app.state.group : [...groups.keys()].at(-1);
  const group = groups.get(name);
  const layer = Math.min(app.state.layer, group.length - 1);
  const attention = group[layer];
  return { name, group, layer, attention, index: Math.min(app.state.head, attention.heads - 1) };
}

function textsOf(recording, name) {
  const { rows, columns } = stacksOf(name);
  const texts = (stack) => (recording.tokens[stack] ?? []).map(({ text }) => text);
  return { rows: texts(rows), columns: texts(columns) };
}

// The row chosen, where the matrices' rows are the rows that the page is about.
function selectedRow(app, name) {
  const { rows } = stacksOf(name);
  return app.state.recording?.tokens[rows] === app.rows && app.state.row !== null ? app.row : null;
}

function linesOptions(app, name, group, values, layer, index) {
  const texts = textsOf(app.state.recording, name);
  const { rows } = stacksOf(name);
  const isAboutRows = app.state.recording.tokens[rows] === app.rows;
  return {
    left: texts.rows,
    right: texts.columns,
    leftName: t(`lines.${kindOf(name)}.left`),
    rightName: t(`lines.${kindOf(name)}.right`),
    heads: Array.from({ length: group[layer].heads }, (_, h) => ({
      name: t("head.short", { head: h + 1 }), values: values(layer, h).values,
    })),
    shown: [index],
    selected: selectedRow(app, name),
    onSelect: (row) => { if (isAboutRows && row !== null) app.chooseRow(row); },
  };
}
