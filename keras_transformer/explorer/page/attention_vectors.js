// The vectors of one head: query, key and value before the scores, and the output after them.

import { number, visible } from "/web/dom.js";
import { part } from "./controls.js";
import { el } from "./make.js";
import { t } from "./strings.js";
import { strip } from "./strip.js";

// Query, key and value of the head chosen; several heads may share a key and a value. Returns what
// shows them, as all parts of this view do.
export async function headVectors(app, { recording, attention, index, texts }) {
  const { path, heads } = attention;
  if (!["query", "key", "value"].every((name) => recording.has(`${path}/${name}`))) return null;
  const shared = heads / recording.shape(`${path}/key`)[0];
  const group = Math.floor(index / shared);
  const [query, key, value] = await Promise.all([
    recording.tensor(`${path}/query`, [index]),
    recording.tensor(`${path}/key`, [group]),
    recording.tensor(`${path}/value`, [group]),
  ]);
  const holder = el("div", { class: "three" });
  for (const [name, tensor, rows] of [
    ["query", query, texts.rows], ["key", key, texts.columns], ["value", value, texts.columns],
  ]) {
    strip(holder, {
      rows, width: tensor.shape.at(-1), values: tensor.values,
      title: t(`vectors.${name}`), note: t(`vectors.${name}.note`),
      selected: rows.length === app.rows.length && name === "query" ? app.row : null,
    });
  }
  const note = shared > 1 ? t("vectors.shared", { count: shared, group: group + 1 }) : "";
  return (parent) => parent.append(part("vectors", t("vectors.title"),
    `${t("vectors.text", { width: query.shape.at(-1) })} ${note}`, holder));
}

// The output of the head chosen: values, weighted and added.
export async function headOutput(app, { recording, attention, index, texts }) {
  const name = `${attention.path}/head_output`;
  if (!recording.has(name)) return null;
  const tensor = await recording.tensor(name, [index]);
  const holder = el("div", {});
  const width = tensor.shape.at(-1);
  const row = Math.min(app.row, texts.rows.length - 1);
  strip(holder, {
    rows: texts.rows, width, values: tensor.values, title: t("output.strip"), selected: row,
  });
  const first = [...tensor.values.subarray(row * width, row * width + 4)].map((x) => number(x, 2));
  const numbers = t("output.numbers", {
    token: visible(texts.rows[row]), values: first.join(", "), dots: width > 4 ? ", …" : "",
  });
  return (parent) => parent.append(part("output", t("output.title"), t("output.text"), holder,
    el("p", { class: "numbers" }, numbers)));
}
