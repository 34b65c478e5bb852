// The small pictures of the stages, which show at a glance what the stage has made of the text.

import { visible } from "/web/dom.js";
import { decode, slice } from "/web/tensor.js";
import { onTheme } from "/web/theme.js";
import { concerns, drawer } from "./flow.js";
import { paintInto } from "./heat.js";
import { clear, el, percent } from "./make.js";
import { attentionGroups, blockPath, embeddingNames } from "./names.js";
import { best, distribution } from "./sampling.js";
import { paintPicture } from "./view_picture.js";
import { chosenAttention } from "./view_attention.js";

const MOST_TOKENS = 9;

export function tokensPreview(app) {
  const element = el("div", { class: "mini-tokens" });
  return {
    element,
    update(names) {
      if (!concerns(names, "recording", "stream")) return;
      const { recording, stream } = app.state;
      const written = stream?.tokens ?? [];
      const tokens = stream
        ? [...(stream.prompt ?? []), ...written]
        : (recording?.tokens.encoder ?? recording?.tokens.decoder ?? []);
      const count = stream ? written.length : app.state.generated;
      const shown = tokens.slice(-MOST_TOKENS);
      clear(element, tokens.length > shown.length ? el("span", {}, "…") : null,
        shown.map((token, i) => el("span", {
          class: shown.length - i <= count ? "written" : "",
        }, el("bdi", {}, visible(token.text ?? token)))));
    },
  };
}

// A small heat map of a tensor that `read` finds in a recording, as {values, rows, columns, kind}.
function heatPreview(app, read, ...wanted) {
  const element = el("canvas", { class: "mini-heat" });
  const show = drawer(element);
  const draw = async () => {
    const { recording } = app.state;
    if (!recording) return;
    await show(() => read(recording).catch(() => null), (found) => {
      element.hidden = !found;
      if (found) paintInto(element, found.values, found.rows, found.columns, found.kind);
    });
  };
  onTheme(element, draw);
  return { element, update: (names) => concerns(names, "recording", ...wanted) && draw() };
}

function vectors({ shape, values }) {
  return { values, rows: shape[0], columns: shape.at(-1), kind: "signed" };
}

export function embeddingPreview(app) {
  return heatPreview(app, async (recording) => {
    const stack = Object.keys(recording.tokens).at(-1);
    const { sum, embedding } = embeddingNames(recording, stack);
    return vectors(await recording.tensor(sum ?? embedding));
  });
}

export function attentionPreview(app) {
  const groups = attentionGroups(app.model);
  return heatPreview(app, async (recording) => {
    const { name, layer, index } = chosenAttention(app, groups);
    const { shape, values } = slice(await recording.weights(name), layer, index);
    return { values, rows: shape[0], columns: shape[1], kind: "weights" };
  }, "group", "layer", "head");
}

export function blockPreview(app) {
  return heatPreview(app, async (recording) => {
    const stack = Object.keys(recording.tokens).at(-1);
    const layers = app.model.stacks.find(({ name }) => name === stack)?.layers ?? 1;
    const path = blockPath(recording, stack, Math.min(app.state.layer, layers - 1));
    const names = [`${path}/output`, `${path}/state`, `${stack}/output`];
    return vectors(await recording.tensor(names.find((name) => recording.has(name))));
  }, "layer");
}

export function statesPreview(app) {
  return heatPreview(app, async (recording) => {
    const names = recording.names.filter((name) => name.endsWith("/state"));
    return vectors(await recording.tensor(names.at(-1)));
  });
}

export function logitsPreview(app) {
  const element = el("div", { class: "mini-bars", hidden: true });
  const rows = Array.from({ length: 5 }, () => {
    const [label, bar, share] = ["b", "i", "span"].map((tag) => el(tag, {}));
    element.append(el("div", {}, label, el("span", { class: "bar-track" }, bar), share));
    return { label, bar, share };
  });
  return {
    element,
    update(names) {
      if (!concerns(names, "logits", "sampling", "words") || !app.state.logits) return;
      element.hidden = false;
      const { probabilities } = distribution(app.state.logits, app.state.sampling);
      best(app.state.logits, rows.length).forEach((id, i) => {
        rows[i].label.textContent = visible(app.word(id));
        rows[i].bar.style.transform = `scaleX(${probabilities[id].toFixed(4)})`;
        rows[i].share.textContent = percent(probabilities[id]);
      });
    },
  };
}

export function lensPreview(app) {
  const element = el("div", { class: "mini-lens" });
  const show = drawer(element);
  const draw = async () => {
    const { recording } = app.state;
    if (!recording) return;
    await show(() => recording.lens().catch(() => null), (lens) => {
      if (!lens) return;
      const words = lens.top.map((positions) => positions[app.row]?.[0]?.text ?? "");
      const shown = words.length <= 5 ? words
        : [0, 1, 2, 3, 4].map((i) => words[Math.round((i * (words.length - 1)) / 4)]);
      clear(element, shown.map((word) => el("span", {}, el("bdi", {}, visible(word)))));
    });
  };
  return { element, update: (names) => concerns(names, "recording", "row") && draw() };
}

export function textPreview(app, read, ...wanted) {
  const element = el("p", { class: "mini-text", dir: "auto" });
  return {
    element,
    update(names) {
      if (concerns(names, ...wanted)) element.textContent = read(app) ?? "";
    },
  };
}

export function picturePreview(app) {
  const element = el("canvas", { class: "mini-heat" });
  return {
    element,
    update(names) {
      const reply = app.state.recording?.reply;
      if (!concerns(names, "recording") || !reply?.image) return;
      paintPicture(element, decode(reply.image), reply.patches);
    },
  };
}
