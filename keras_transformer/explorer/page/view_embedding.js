// From ids to vectors: a row of the table of embeddings, and what the position adds to it.

import { part, segments } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { append, el, redraw } from "./make.js";
import { embeddingNames } from "./names.js";
import { t } from "./strings.js";
import { strip } from "./strip.js";

export function embeddingView(app) {
  const element = el("div", {});
  const showInElement = drawer(element);
  let stack = null;

  const draw = async () => {
    const { recording } = app.state;
    if (!recording) return;
    const stacks = Object.keys(recording.tokens);
    if (!stacks.includes(stack)) stack = stacks.at(-1);
    await showInElement(() => app.attempt(embeddingOf(recording, stack)), (found) =>
      showWithChoice(found, stacks, recording.tokens[stack].map(({ text }) => text)));
  };

  const showWithChoice = (found, stacks, texts) => {
    const choice = stacks.length < 2 ? null : segments({
      label: t("stack.choice"),
      options: stacks.map((value) => ({ value, text: t(`stack.${value}`) })),
      value: stack,
      onChange: (value) => { stack = value; draw(); },
    });
    redraw(element, () => {
      append(element, [choice]);
      if (found) show(found, texts);
      else element.append(el("p", { class: "note" }, t("error.not_embedded")));
    });
  };

  const show = ({ embedding, encoding, sum }, texts) => {
    const sumRow = el("div", { class: "sum" });
    const whole = sum ?? embedding;
    const width = whole.shape.at(-1);
    const add = (name, tensor) => {
      const rows = tensor.shape[0] === texts.length ? texts : tensor.shape[0];
      const labels = typeof rows === "number" ? [...Array(rows).keys()].map(String) : rows;
      const isReading = app.rows.length === labels.length;
      strip(sumRow, {
        rows: labels, width, values: tensor.values, title: t(`embedding.${name}`),
        selected: isReading ? app.row : null,
        onSelect: isReading ? (row) => app.chooseRow(row) : undefined,
      });
    };
    if (embedding) add("token", embedding);
    if (encoding && sum) {
      sumRow.append(el("span", { class: "sign", "aria-hidden": "true" }, "+"));
      add("position", encoding);
      sumRow.append(el("span", { class: "sign", "aria-hidden": "true" }, "="));
      add("sum", sum);
    }
    const note = encoding ? "embedding.note" : "embedding.note.no_positions";
    element.append(part("embedding", t("embedding.title"), t(note, { width }), sumRow));
  };

  return {
    element,
    update(names) {
      if (concerns(names, "recording", "row")) draw();
    },
  };
}

// The vectors of a stack's tokens. What enters the stack is recorded for each stack, the table's
// output only for the stack that used the table last; it is the difference of the two others.
async function embeddingOf(recording, stack) {
  const names = embeddingNames(recording, stack);
  const read = (name) => (name === null ? null : recording.tensor(name));
  const [encoding, sum] = await Promise.all([read(names.encoding), read(names.sum)]);
  if (encoding && sum) {
    const values = sum.values.map((value, i) => value - encoding.values[i % encoding.values.length]);
    return { embedding: { shape: sum.shape, values }, encoding, sum };
  }
  const embedding = sum ?? (await read(names.embedding));
  return embedding ? { embedding, encoding: null, sum: null } : null;
}
