// One sentence through a recurrent network, an LSTM, attention and a Transformer, side by side.

import { matrix } from "/web/matrix.js";
import { decode } from "/web/tensor.js";
import { clear, el } from "./make.js";
import { t, tOr } from "./strings.js";
import { strip } from "./strip.js";

export function compareSection(app) {
  const holder = el("div", { class: "compare" });
  const status = el("p", { class: "note", role: "status" });
  const button = el("button", { type: "button", onclick: () => show() }, t("compare.show"));
  const element = el("section", { class: "compare-section", "data-part": "compare",
    "aria-labelledby": "compare-title" },
  el("h2", { id: "compare-title" }, t("compare.title")), el("p", { class: "note" }, t("compare.text")),
  button, status, holder);

  const show = async () => {
    if (app.source.isLive && !app.state.text.trim()) return;
    button.disabled = true;
    status.textContent = t("busy.run");
    const progress = ({ progress: share, what }) => {
      status.textContent = t("compare.progress", { what, share: Math.round(100 * share) });
    };
    const reply = await app.attempt(app.source.compare(app.state.text, progress));
    button.disabled = false;
    status.textContent = "";
    if (!reply) return;
    const notes = [reply.note, ...(reply.models ?? []).map(({ note }) => note)].filter(Boolean);
    status.textContent = [...new Set(notes)].join(" ");
    clear(holder, reply.models.map((model) => modelOf(model, reply.tokens)));
    for (const draw of waiting.splice(0)) draw();
  };
  return { element, show };
}

// Components measure themselves, so they are made once their place is in the page.
const waiting = [];

function modelOf({ name, kind, tensors, output, accuracy }, tokens) {
  const article = el("article", {}, el("h3", {}, name),
    el("p", { class: "note" }, tOr(`compare.${kind}`, "")));
  for (const { name: title, what, tensor } of tensors) {
    const { shape, values } = decode(tensor);
    const texts = (tokens ?? []).map((token) => token.text ?? token);
    const labels = (count) => (texts.length === count ? texts : [...Array(count).keys()].map(String));
    const holder = el("div", {});
    article.append(holder);
    const isMatrix = what === "weights" || (what === undefined && shape[0] === shape.at(-1));
    waiting.push(() => {
      const flat = shape.length > 2 ? shape.slice(-2) : shape;
      const part = values.subarray(0, flat[0] * flat[1]);
      if (isMatrix) {
        matrix(holder, { rows: labels(flat[0]), columns: labels(flat[1]), values: part, title,
          kind: "weights", height: 320, rowName: t("scores.row"), columnName: t("scores.column") });
      } else {
        strip(holder, { rows: labels(flat[0]), width: flat[1], values: part, title });
      }
    });
  }
  if (output?.length) article.append(el("p", { class: "note" }, t("compare.output",
    { output: output.join(" ") })));
  if (typeof accuracy === "number") article.append(el("p", { class: "note" },
    t("compare.accuracy", { share: (100 * accuracy).toFixed(0) })));
  return article;
}
