// The whole page, live or exported: header, form, the way through the model, the walk-through.

import { setTranslation } from "/web/dom.js";
import { askForm } from "./ask.js";
import { compareSection } from "./compare.js";
import { Explorer } from "./explorer.js";
import { flow } from "./flow.js";
import { clear, el, remembered } from "./make.js";
import { attentionGroups } from "./names.js";
import { firstStage, stagesOf } from "./stages.js";
import { currentLanguage, setLanguage, setTexts, t, tOr, translatePage } from "./strings.js";
import { walkThrough } from "./walk.js";

const LANGUAGES = ["en", "ja"];

// `texts` and `cards` hold the strings and the walk-through by language.
export async function startPage(source, { texts, cards }) {
  for (const name of LANGUAGES) setTexts(name, texts[name]);
  setTranslation((text) => tOr(`web.${text}`, text));
  setLanguage(remembered("language") ?? (navigator.language.startsWith("ja") ? "ja" : "en"));
  setTheme(remembered("theme"));
  translatePage(document);
  const model = await source.model();
  const app = new Explorer(source, model);
  app.state.group = [...attentionGroups(model).keys()].at(-1) ?? null;
  app.state.stage = firstStage(app);
  if (model.translation) {
    app.state.beam.lengthPenalty = model.translation.length_penalty_default ?? 0.6;
  }
  const sampling = model.sampling ?? {};
  Object.assign(app.state.sampling, {
    temperature: sampling.temperature_default ?? 1, topK: sampling.top_k ?? null,
    topP: sampling.top_p ?? null, minP: sampling.min_p ?? null,
  });
  const page = new Page(app, cards);
  page.build();
  page.listenToTools();
  await firstRun(app);
  return app;
}

async function firstRun(app) {
  const [example] = app.model.examples ?? [];
  if (app.model.kind === "vision") app.set({ image: { example: 0 } });
  else if (!app.source.isLive) app.set({ text: app.source.text() });
  else if (example === undefined) return;
  else app.set({ text: typeof example === "string" ? example : example.source });
  await app.read();
}

// The theme of the system, or the one chosen.
function setTheme(name) {
  if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

class Page {
  constructor(app, cards) {
    this.app = app;
    this.cards = cards;
    this.parts = [];
    app.listen((names) => {
      for (const part of this.parts) part.update(names);
      this.showStatus(names);
    });
  }

  // Makes all parts in the language chosen.
  build() {
    const { app } = this;
    const at = (id) => document.getElementById(id);
    translatePage(document);
    document.title = `${t("title")} · ${app.model.title}`;
    at("model-title").textContent = app.model.title;
    at("model-facts").textContent = factsOf(app.model);
    at("attribution").textContent = app.model.attribution ?? "";
    this.flow?.remove();
    const wasWalking = this.walk?.isOpen() ? this.walk.place() : null;
    this.walk?.element.remove();
    this.parts = [];
    if (app.source.isLive) {
      const ask = askForm(app);
      this.parts.push(ask);
      clear(at("ask"), ask.element);
    } else {
      clear(at("ask"), el("p", { class: "note" }, t("export.note")),
        app.source.text() ? el("p", { class: "quoted", dir: "auto" }, app.source.text()) : null);
    }
    const stages = stagesOf(app);
    this.flow = flow(at("flow"), app, stages);
    this.buildCompare(at("compare"));
    this.walk = walkThrough(app, this.cards[currentLanguage()] ?? this.cards.en,
      stages.map(({ name }) => name));
    document.body.append(this.walk.element);
    if (wasWalking !== null) this.walk.resume(wasWalking);
    at("language").textContent = currentLanguage() === "ja" ? "English" : "日本語";
    at("language").lang = currentLanguage() === "ja" ? "en" : "ja";
    this.markTheme();
    this.showStatus(new Set(["busy", "error"]));
  }

  buildCompare(place) {
    const { app } = this;
    clear(place);
    if (app.model.kind === "vision") return;
    if (!app.source.isLive && !app.source.has("compare")) return;
    const compare = compareSection(app);
    place.append(compare.element);
    if (!app.source.isLive) compare.show();
  }

  listenToTools() {
    const at = (id) => document.getElementById(id);
    at("language").addEventListener("click", () => {
      const next = LANGUAGES[(LANGUAGES.indexOf(currentLanguage()) + 1) % LANGUAGES.length];
      setLanguage(next);
      remembered("language", next);
      this.build();
    });
    at("theme").addEventListener("click", () => {
      const next = isDark() ? "light" : "dark";
      setTheme(next);
      remembered("theme", next);
      this.markTheme();
    });
    at("walk").addEventListener("click", () => this.walk.show(at("walk")));
    at("error-close").addEventListener("click", () => this.app.set({ error: null }));
  }

  markTheme() {
    const button = document.getElementById("theme");
    button.textContent = t(isDark() ? "theme.light" : "theme.dark");
  }

  showStatus(names) {
    const { error, busy, announcement } = this.app.state;
    if (names.has("error")) {
      document.getElementById("error-text").textContent = error ?? "";
      document.getElementById("error").hidden = !error;
    }
    if (names.has("busy") || names.has("announcement")) {
      document.body.classList.toggle("busy", busy !== null);
      document.getElementById("status").textContent = busy ? t(`busy.${busy}`) : announcement;
    }
  }
}

function factsOf(model) {
  const stacks = model.stacks.map(({ name, layers, heads, hidden_dim: width, unit }) =>
    t(unit === "recurrent" ? "facts.recurrent" : "facts.stack", {
      name: t(`stack.${name}`), layers, heads: heads ?? 0, width,
    }));
  const words = model.vocabulary_size
    ? [t("facts.vocabulary", { size: model.vocabulary_size.toLocaleString("en") })] : [];
  return [...stacks, ...words].join(" · ");
}
