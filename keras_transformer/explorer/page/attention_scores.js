// The score matrix in its stages, and one of its cells written out with its own numbers.

import { matrix } from "/web/matrix.js";
import { number, visible } from "/web/dom.js";
import { part } from "./controls.js";
import { clear, el } from "./make.js";
import { scoreStages } from "./names.js";
import { t } from "./strings.js";

// Reads the matrices of the head chosen; returns what shows them.
export async function scoreMatrices(app, { recording, attention, index, texts }) {
  const { path } = attention;
  const found = await Promise.all(scoreStages(recording, path).map(async (stage) =>
    [stage, await recording.tensor(`${path}/${stage}`, [index]).catch(lacking)]));
  const stages = found.filter(([, tensor]) => tensor).map(([stage]) => stage);
  const tensors = found.map(([, tensor]) => tensor).filter(Boolean);
  if (!stages.length) return null;
  return (parent) => show(app, parent, { stages, tensors, texts });
}

// Components read their colors and sizes from the page, so they are made in their place.
function show(app, parent, { stages, tensors, texts }) {
  const holder = el("ol", { class: "stages" });
  const equation = el("div", { class: "equation", "aria-live": "polite" });
  const views = [];
  const values = Object.fromEntries(stages.map((stage, i) => [stage, tensors[i].values]));
  const select = (row, column) => {
    for (const view of views) view.update({ selected: [row, column] });
    clear(equation, writtenOut(values, row, column, texts));
  };
  const isReading = texts.rows.length === app.rows.length;
  parent.append(part("scores", t("scores.title"), t("scores.text"), holder, equation));
  const start = startCell(app, values.weights, texts, isReading);
  stages.forEach((stage, i) => {
    const item = el("li", { "data-stage-of-scores": stage });
    item.append(el("h4", {}, t(`scores.${stage}`)), el("p", { class: "note" },
      t(`scores.${stage}.note`, { factor: number(factorOf(values), 4) })));
    holder.append(item);
    views.push(matrix(item, {
      rows: texts.rows, columns: texts.columns, values: tensors[i].values,
      title: "", kind: stage === "weights" ? "weights" : "signed", height: 420, selected: start,
      rowName: t("scores.row"), columnName: t("scores.column"), onSelect: select,
    }));
  });
  clear(equation, writtenOut(values, ...start, texts));
}

// The cell written out at first: in the row chosen, the one with the largest weight.
function startCell(app, weights, texts, isReading) {
  const row = isReading ? app.row : texts.rows.length - 1;
  if (!weights) return [row, 0];
  const width = texts.columns.length;
  const line = weights.subarray(row * width, (row + 1) * width);
  return [row, Math.max(0, line.indexOf(Math.max(...line)))];
}

// An exported page may lack some stages; the others are shown.
function lacking(error) {
  if (error.isQuiet) return null;
  throw error;
}

function factorOf({ scores, scaled }) {
  const cell = scores?.findIndex((score) => Math.abs(score) > 1e-6) ?? -1;
  return cell < 0 || !scaled ? 1 : scaled[cell] / scores[cell];
}

// Every number that leads to a weight, as an ordered list.
function writtenOut(values, row, column, texts) {
  const width = texts.columns.length;
  const cell = row * width + column;
  const lines = [];
  const add = (key, numbers) => lines.push(el("li", {}, t(`written.${key}`, numbers)));
  const tokens = { row: visible(texts.rows[row]), column: visible(texts.columns[column]) };
  if (values.scores) add("scores", { ...tokens, score: number(values.scores[cell], 4) });
  if (values.scores && values.scaled) {
    add("scaled", { score: number(values.scores[cell], 4), factor: number(factorOf(values), 4),
      scaled: number(values.scaled[cell], 4) });
  }
  const before = values.biased ?? values.scaled;
  if (values.biased && values.scaled) {
    add("biased", { bias: number(values.biased[cell] - values.scaled[cell], 4),
      biased: number(values.biased[cell], 4) });
  }
  const last = values.masked ?? before;
  if (values.masked) {
    add(values.masked[cell] === -Infinity ? "masked" : "allowed",
      { ...tokens, value: number(last[cell], 4) });
  }
  if (last && values.weights) addSoftmax(add, last, values.weights, row, width, cell);
  return [el("h4", {}, t("written.title", tokens)), el("ol", {}, lines)];
}

function addSoftmax(add, last, weights, row, width, cell) {
  const line = last.subarray(row * width, (row + 1) * width);
  const largest = Math.max(...line);
  const total = line.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  if (largest === -Infinity) return add("nothing", {});
  add("weights", { value: number(last[cell], 4), largest: number(largest, 4),
    exponential: number(Math.exp(last[cell] - largest), 4), total: number(total, 4),
    weight: number(weights[cell], 4) });
}
