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
    status.textContent = t("compare.note");
    clear(holder, reply.models.map((model) => modelOf(model, reply.tokens)));
    for (const draw of waiting.splice(0)) draw();
  };
  return { element, show };
}

// Components measure themselves, so they are made once their place is in the page.
const waiting = [];

function modelOf({ name, kind, note, tensors, output, accuracy }, tokens) {
  const article = el("article", {}, el("h3", {}, tOr(`compare.name.${kind}`, name)),
    el("p", { class: "note" }, `${tOr(`compare.${kind}`, "")} ${note ?? ""}`));
  if (output?.length) {
    article.append(el("p", { class: "note" }, t("compare.output", { output: output.join(" ") })));
  }
  if (typeof accuracy === "number") {
    article.append(el("p", { class: "note" },
      t("compare.accuracy", { share: (100 * accuracy).toFixed(0) })));
  }
  for (const one of tensors) article.append(tensorOf(one, tokens));
  return article;
}

function tensorOf({ name, what, rows, columns, tensor }, tokens) {
  const { shape, values } = decode(tensor);
  const [height, width] = shape.slice(-2);
  const labels = (given, count) => {
    const found = given ?? (tokens?.length === count ? tokens : null);
    return found?.map((token) => token.text ?? token) ?? [...Array(count).keys()].map(String);
  };
  const holder = el("div", {});
  const title = titleOf(name);
  waiting.push(() => {
    const first = values.subarray(0, height * width);
    if (what === "weights") {
      matrix(holder, { rows: labels(rows, height), columns: labels(columns, width), values: first,
        title, kind: "weights", height: 320, rowName: t("scores.row"),
        columnName: t("scores.column") });
    } else {
      strip(holder, { rows: labels(rows, height), width, values: first, title,
        kind: what === "gate" ? "weights" : "signed" });
    }
  });
  return holder;
}

// "encoder: forget_gate", in the language of the page.
function titleOf(name) {
  const [stack, what] = name.split(": ");
  if (what === undefined) return name;
  return `${tOr(`stack.${stack}`, stack)}: ${tOr(`states.${what.replaceAll(" ", "_")}`, what)}`;
}
