// From logits to the next token: temperature, filters and softmax, with every number.

import { bars } from "/web/bars.js";
import { number, visible } from "/web/dom.js";
import { chips } from "./chips.js";
import { part } from "./controls.js";
import { concerns } from "./flow.js";
import { clear, el, percent, redraw } from "./make.js";
import { best, distribution } from "./sampling.js";
import { samplingControls } from "./sampling_controls.js";
import { t } from "./strings.js";

const SHOWN = 12;

export function logitsView(app) {
  const rowHolder = el("div", {});
  const written = el("div", { class: "equation", "aria-live": "polite" });
  const body = el("tbody", {});
  const summary = el("p", { class: "note" });
  const moved = el("div", {});
  const rows = new Map();
  const element = el("div", {},
    part("row", t("logits.row"), t("logits.row.note"), rowHolder),
    app.model.kind === "language_model" || app.model.kind === "translator"
      ? part("sampling", t("sampling.title"), t("sampling.text"), samplingControls(app)) : null,
    part("probabilities", t("logits.title"), t("logits.text"), summary, el("div", { class: "split" },
      el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": t("logits.title") },
        el("table", { class: "logits" }, el("thead", {}, el("tr", {},
          ["token", "logit", "divided", "probability"].map((name) =>
            el("th", { scope: "col" }, t(`logits.${name}`))))), body)),
      written)),
    app.source.isLive ? part("saliency", t("saliency.title"), t("saliency.text"), moved) : null);

  const drawRows = () => {
    const writes = app.state.recording?.reply.writes ?? [];
    redraw(rowHolder, () => chips(rowHolder, {
      items: app.rows.map(({ text }, row) => ({ text, below: `→ ${writes[row] ?? "?"}` })),
      selected: app.row, label: t("logits.row"), onSelect: (row) => app.chooseRow(row),
    }));
    drawSaliency();
  };

  const drawSaliency = () => {
    clear(moved, el("button", { type: "button", onclick: () => showSaliency(app, moved) },
      t("saliency.show")));
  };

  const draw = () => {
    const { logits, sampling } = app.state;
    if (!logits) return;
    const found = distribution(logits, sampling);
    const ids = best(logits, SHOWN);
    const candidate = app.state.candidate ?? ids[0];
    if (!ids.includes(candidate)) ids.push(candidate);
    for (const [id, row] of rows) if (!ids.includes(id)) { row.line.remove(); rows.delete(id); }
    ids.forEach((id, place) => {
      if (!rows.has(id)) rows.set(id, makeRow(app, id));
      const row = rows.get(id);
      fillRow(app, row, id, found, logits[id], id === candidate);
      // A row that is in its place is left alone, so that it keeps the focus.
      if (body.children[place] !== row.line) body.insertBefore(row.line, body.children[place] ?? null);
    });
    summary.textContent = t("logits.summary", { kept: found.numKept, size: logits.length });
    clear(written, writtenOut(app, candidate, found, logits[candidate]));
  };

  return {
    element,
    update(names) {
      if (concerns(names, "recording", "row")) drawRows();
      if (concerns(names, "logits", "sampling", "candidate", "words")) draw();
    },
  };
}

function makeRow(app, id) {
  const button = el("button", { type: "button", class: "link",
    onclick: () => app.set({ candidate: id }) });
  const cells = { logit: el("td", {}), divided: el("td", {}) };
  const bar = el("span", { class: "bar-fill" });
  const share = el("span", { class: "share" });
  const line = el("tr", {}, el("th", { scope: "row" }, button), cells.logit, cells.divided,
    el("td", { class: "bar-cell" }, el("div", {},
      el("span", { class: "bar-track", "aria-hidden": "true" }, bar), share)));
  return { line, button, bar, share, ...cells };
}

function fillRow(app, row, id, found, logit, isChosen) {
  row.button.textContent = visible(app.word(id));
  row.button.setAttribute("aria-pressed", String(isChosen));
  row.line.className = `${isChosen ? "chosen" : ""} ${found.kept[id] ? "" : "filtered"}`;
  row.logit.textContent = number(logit, 3);
  row.divided.textContent = number(found.scaled[id], 3);
  row.bar.style.transform = `scaleX(${found.probabilities[id].toFixed(4)})`;
  row.share.textContent = found.kept[id] ? percent(found.probabilities[id]) : t("logits.filtered");
}

function writtenOut(app, id, found, logit) {
  const token = visible(app.word(id));
  const { temperature } = app.state.sampling;
  const numbers = {
    token, logit: number(logit, 3), temperature: number(temperature, 2),
    scaled: number(found.scaled[id], 3), largest: number(found.largest, 3),
    exponential: number(Math.exp(found.scaled[id] - found.largest), 4),
    total: number(found.total, 4), kept: found.numKept,
    probability: number(found.probabilities[id], 4),
  };
  const keys = ["divide", found.kept[id] ? "keep" : "drop", "exponential", "softmax"];
  const steps = found.kept[id] ? keys : keys.slice(0, 2);
  return [el("h4", {}, t("chosen.title", { token })),
    el("ol", {}, steps.map((key) => el("li", {}, t(`chosen.${key}`, numbers))))];
}

async function showSaliency(app, holder) {
  const { recording } = app.state;
  const row = app.row;
  clear(holder, el("p", { class: "note" }, t("busy.run")));
  const reply = await app.attempt(recording.saliency(row));
  clear(holder);
  if (!reply) return;
  const encoderTexts = recording.tokens.encoder ?? recording.tokens.decoder;
  const texts = reply.tokens ?? encoderTexts.map(({ text }) => text);
  const show = (title, scores, labels) => bars(holder, {
    title, items: scores.map((value, i) => ({ label: textOf(labels[i]), value })),
  });
  show(t(reply.target_scores ? "saliency.source" : "saliency.input",
    { token: visible(reply.token?.text ?? "") }), reply.scores, texts);
  if (reply.target_scores) show(t("saliency.target"), reply.target_scores, reply.target_tokens);
}

function textOf(token) {
  return visible(typeof token === "string" ? token : (token?.text ?? ""));
}
