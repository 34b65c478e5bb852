// The form in which a person asks: a prompt, a text to translate, a text to read, or a picture.

import { plainText } from "./explorer.js";
import { el } from "./make.js";
import { t } from "./strings.js";

const PAUSE = 500; // milliseconds without a key, after which the text is read

export function askForm(app) {
  if (app.model.kind === "vision") return pictureForm(app);
  return textForm(app);
}

function textForm(app) {
  const { kind } = app.model;
  const text = el("textarea", { id: "text", rows: 2, value: app.state.text,
    dir: "auto", placeholder: t(`ask.${kind}.placeholder`),
    "aria-describedby": "ask-hint" });
  text.spellcheck = false;
  const submit = el("button", { type: "submit", class: "primary", id: "submit" }, t(`ask.${kind}.submit`));
  const stop = el("button", { type: "button", id: "stop", hidden: true, onclick: () => app.stop() },
    t("ask.stop"));
  const more = kind === "language_model" ? generationFields(app)
    : kind === "translator" ? targetField(app) : null;
  const element = el("form", { class: "ask", "aria-label": t("ask.label") },
    el("label", { for: "text" }, t(`ask.${kind}.label`)),
    text,
    el("div", { class: "bar" }, submit, stop, more?.elements),
    examples(app, text),
    el("p", { class: "note", id: "ask-hint" }, hintOf(app.model)));

  let timer = null;
  const readText = () => {
    clearTimeout(timer);
    if (app.state.text !== text.value) app.set({ text: text.value, generated: 0 });
  };
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      readText();
      if (text.value.trim() && app.state.busy !== "generate") app.read();
    }, PAUSE);
  });
  const act = () => {
    readText();
    if (kind === "language_model") return app.generate();
    return app.read();
  };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    act();
  });
  return {
    element,
    update(names) {
      if (names.has("text") && text.value !== app.state.text) text.value = app.state.text;
      const { stream } = app.state;
      if (names.has("stream") && stream) text.value = app.state.text + plainText(stream.tokens);
      if (names.has("busy")) {
        const isWriting = app.state.busy === "generate";
        stop.hidden = !isWriting;
        submit.disabled = isWriting;
        text.readOnly = isWriting;
        element.setAttribute("aria-busy", String(app.state.busy !== null));
      }
      more?.update(names);
    },
  };
}

function hintOf({ kind, masked_lm: fillsIn, mask_token: mask }) {
  return fillsIn ? t("ask.encoder.hint.masked", { mask }) : t(`ask.${kind}.hint`);
}

function examples(app, text) {
  const found = app.model.examples ?? [];
  if (!found.length) return null;
  const choose = (example) => {
    text.value = typeof example === "string" ? example : example.source;
    app.set({ text: text.value, target: example.target ?? "", generated: 0 });
    app.read();
  };
  return el("div", { class: "examples", role: "group", "aria-label": t("ask.examples") },
    found.slice(0, 6).map((example) =>
      el("button", { type: "button", class: "example", dir: "auto", onclick: () => choose(example) },
        typeof example === "string" ? example : example.source)));
}

function numberField(id, label, value, min, max, onChange) {
  const input = el("input", { type: "number", id, min, max, step: 1 });
  input.value = String(value);
  input.addEventListener("change", () => {
    const next = Math.max(min, Math.min(max, Math.round(Number(input.value)) || min));
    input.value = String(next);
    onChange(next);
  });
  return { input, element: el("span", { class: "field" }, el("label", { for: id }, label), input) };
}

function generationFields(app) {
  const most = app.model.sampling?.max_new_tokens ?? 100;
  const tokens = numberField("new-tokens", t("ask.new_tokens"), Math.min(most, app.state.newTokens),
    1, most, (newTokens) => app.set({ newTokens }));
  const seed = numberField("seed", t("ask.seed"), app.state.seed, 0, 2 ** 31 - 1,
    (value) => app.set({ seed: value }));
  const summary = el("button", { type: "button", class: "link", id: "sampling-summary",
    onclick: () => app.set({ stage: "logits" }) });
  const show = () => {
    const { temperature, topK, topP, minP } = app.state.sampling;
    const parts = [t("ask.temperature", { temperature: temperature.toFixed(2) })];
    if (topK !== null) parts.push(`${t("sampling.top_k")} ${topK}`);
    if (topP !== null) parts.push(`${t("sampling.top_p")} ${topP.toFixed(2)}`);
    if (minP !== null) parts.push(`${t("sampling.min_p")} ${minP.toFixed(2)}`);
    summary.textContent = parts.join(" · ");
  };
  show();
  return {
    elements: [tokens.element, seed.element, summary],
    update(names) {
      if (names.has("sampling")) show();
      if (names.has("seed")) seed.input.value = String(app.state.seed);
    },
  };
}

function targetField(app) {
  const input = el("input", { type: "text", id: "target", dir: "auto",
    placeholder: t("ask.target.placeholder") });
  input.value = app.state.target;
  input.spellcheck = false;
  input.addEventListener("change", () => app.set({ target: input.value }));
  return {
    elements: [el("span", { class: "field wide" }, el("label", { for: "target" }, t("ask.target")),
      input)],
    update(names) {
      if (names.has("target")) input.value = app.state.target;
    },
  };
}

function pictureForm(app) {
  const pictures = app.model.examples ?? [];
  const buttons = pictures.map((name, index) => el("button", { type: "button", class: "example",
    onclick: () => { app.set({ image: { example: index } }); app.read(); } },
  typeof name === "string" ? name : t("ask.picture", { index: index + 1 })));
  const mark = () => buttons.forEach((button, index) =>
    button.setAttribute("aria-pressed", String(app.state.image?.example === index)));
  mark();
  return {
    element: el("form", { class: "ask", "aria-label": t("ask.label") },
      el("p", {}, t("ask.vision.label")),
      el("div", { class: "examples", role: "group", "aria-label": t("ask.examples") }, buttons)),
    update: (names) => names.has("image") && mark(),
  };
}
