// The walk-through: cards that explain, each of which opens the part of the page it speaks of.

import { clear, el, prefersReducedMotion } from "./make.js";
import { attentionGroups } from "./names.js";
import { t } from "./strings.js";

// `cards` are {id, title, text: [paragraphs], kinds, needs, open: {stage, group, part}}.
export function walkThrough(app, cards, stageNames) {
  const shown = cards.filter((card) => isFor(card, app.model, stageNames));
  const title = el("h2", { id: "walk-title", tabIndex: -1 });
  const text = el("div", {});
  const count = el("span", { class: "note" });
  const back = el("button", { type: "button", onclick: () => go(place - 1) }, t("walk.back"));
  const next = el("button", { type: "button", class: "primary", onclick: () => go(place + 1) });
  const close = el("button", { type: "button", class: "round", "aria-label": t("walk.close"),
    onclick: () => hide() }, "×");
  const element = el("aside", { class: "walk", "aria-labelledby": "walk-title", hidden: true },
    el("header", {}, count, close), title, text,
    el("footer", {}, back, next));
  let place = 0;
  let opener = null;

  const go = (index) => {
    if (index >= shown.length) return hide();
    place = Math.max(0, index);
    const card = shown[place];
    title.textContent = card.title;
    clear(text, card.text.map((paragraph) => el("p", {}, paragraph)));
    count.textContent = t("walk.count", { place: place + 1, count: shown.length });
    back.disabled = place === 0;
    next.textContent = t(place === shown.length - 1 ? "walk.finish" : "walk.next");
    title.focus({ preventScroll: true });
    element.scrollTop = 0;
    return openPart(app, card.open ?? {});
  };
  const show = (from) => {
    opener = from ?? null;
    element.hidden = false;
    document.body.classList.add("walking");
    go(place);
  };
  const hide = () => {
    element.hidden = true;
    document.body.classList.remove("walking");
    mark(null);
    place = 0;
    opener?.focus();
  };
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (event.key === "ArrowRight") go(place + 1);
    if (event.key === "ArrowLeft") go(place - 1);
  });
  return { element, show, hide, isOpen: () => !element.hidden, place: () => place,
    resume: (index) => { place = index; element.hidden = false; go(index); } };
}

function isFor({ kinds, needs }, model, stageNames) {
  if (kinds && !kinds.includes(model.kind)) return false;
  if (needs === "recurrent") return model.recurrent || stageNames.includes("states");
  return !needs || stageNames.includes(needs) || attentionGroups(model).has(needs);
}

let marked = null; // the selector of the part that is marked
let watcher = null;

// Marks a part, also where a view draws it anew.
function mark(selector) {
  marked = selector;
  const found = selector === null ? null : document.querySelector(selector);
  for (const part of document.querySelectorAll(".spot")) {
    if (part !== found) part.classList.remove("spot");
  }
  if (found && !found.classList.contains("spot")) found.classList.add("spot");
  if (watcher) return;
  watcher = new MutationObserver(() => marked !== null && mark(marked));
  watcher.observe(document.querySelector("main"), { childList: true, subtree: true });
}

// Opens a stage, waits until the part is drawn, marks it and brings it into view.
async function openPart(app, { stage, group, part }) {
  const changes = {};
  if (stage && app.state.stage !== stage) changes.stage = stage;
  // "self" is the first self-attention, of whichever stack the model has.
  const names = [...attentionGroups(app.model).keys()];
  const wanted = group === "self" ? names.find((name) => name !== "cross") : group;
  if (names.includes(wanted) && app.state.group !== wanted) changes.group = wanted;
  if (Object.keys(changes).length) app.set(changes);
  const selector = part
    ? (stage ? `[data-panel="${stage}"] [data-part="${part}"]` : `[data-part="${part}"]`)
    : stage ? `[data-stage="${stage}"]` : null;
  mark(selector);
  const found = selector && (await eventually(() => document.querySelector(selector)));
  if (!found || marked !== selector) return;
  mark(selector);
  found.scrollIntoView({ behavior: prefersReducedMotion() ? "auto" : "smooth", block: "start" });
}

async function eventually(find) {
  for (let tries = 0; tries < 40; tries += 1) {
    const found = find();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return null;
}
