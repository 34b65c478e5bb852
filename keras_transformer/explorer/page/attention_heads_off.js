// Heads switched off, before the output projection, and what that changes.

import { bars } from "/web/bars.js";
import { visible } from "/web/dom.js";
import { part, toggle } from "./controls.js";
import { el, percent } from "./make.js";
import { classesOf, logitsName } from "./names.js";
import { best, softmax } from "./sampling.js";
import { t } from "./strings.js";
import { changedWords } from "./words_changed.js";

export function headsOff(app, { attention, index }, groups) {
  if (!app.source.isLive) return null;
  const { path } = attention;
  const off = app.state.ablate[path] ?? [];
  const heads = Array.from({ length: attention.heads }, (_, head) => toggle({
    label: t("head.short", { head: head + 1 }),
    checked: !off.includes(head),
    onChange: () => app.toggleHead(path, head),
  }));
  for (const [head, one] of heads.entries()) one.classList.toggle("current", head === index);
  const rest = [...groups.values()].flat().filter((other) => other.path !== path)
    .flatMap((other) => (app.state.ablate[other.path] ?? []).map((head) =>
      t("off.elsewhere", { path: other.path, head: head + 1 })));
  const changes = el("div", { class: "changes", "aria-live": "polite" });
  if (app.hasHeadsOff) showChanges(app, changes);
  return (parent) => parent.append(part("off", t("off.title"), t("off.text"),
    el("div", { class: "toggles", role: "group", "aria-label": t("off.title") }, heads),
    rest.length ? el("p", { class: "note" }, rest.join(" · ")) : null,
    app.hasHeadsOff ? el("button", { type: "button", onclick: () => app.allHeadsOn() },
      t("off.all_on")) : null,
    changes));
}

async function showChanges(app, holder) {
  if (app.model.kind === "translator") return showTranslations(app, holder);
  const { recording, whole } = app.state;
  if (!whole) return undefined;
  if (classesOf(recording)) {
    return showProbabilities(holder, [whole, recording].map((one) => classesOf(one)
      .map(({ label, probability }) => ({ label: String(label), value: probability }))));
  }
  const name = logitsName(recording);
  if (name === null) return undefined;
  const found = await app.attempt(Promise.all([whole, recording].map((one) =>
    one.tensor(name, [Math.min(app.row, one.shape(name)[0] - 1)]))));
  if (!found) return undefined;
  const [before, after] = found.map(({ values }) => softmax(values).probabilities);
  const ids = [...new Set([...best(before, 5), ...best(after, 5)])];
  return showProbabilities(holder, [before, after].map((probabilities) =>
    ids.map((id) => ({ label: visible(app.word(id)), value: probabilities[id] }))));
}

function showProbabilities(holder, [before, after]) {
  const columns = el("div", { class: "two" });
  holder.append(columns);
  for (const [title, items] of [["off.before", before], ["off.after", after]]) {
    bars(columns, { title: t(title), maximum: 1, format: percent, items });
  }
}

async function showTranslations(app, holder) {
  const { text, ablate, beam } = app.state;
  holder.append(el("p", { class: "note" }, t("busy.translate")));
  const reply = await app.attempt(app.source.translate({
    text, num_beams: beam.numBeams, length_penalty: beam.lengthPenalty, ablate,
  }));
  holder.replaceChildren();
  if (!reply) return;
  const { before, after } = changedWords(reply.unablated ?? "", reply.translation);
  holder.append(el("dl", { class: "translations" },
    el("dt", {}, t("off.before")), el("dd", { dir: "auto" }, before),
    el("dt", {}, t("off.after")), el("dd", { dir: "auto" }, after)));
  if (reply.unablated === reply.translation) {
    holder.append(el("p", { class: "note" }, t("off.same")));
  }
}
