// The stages of the way through each kind of model.

import { attentionGroups, classesOf } from "./names.js";
import {
  attentionPreview, blockPreview, embeddingPreview, lensPreview, logitsPreview, picturePreview,
  statesPreview, textPreview, tokensPreview,
} from "./previews.js";
import { attentionView } from "./view_attention.js";
import { beamView } from "./view_beam.js";
import { blockView } from "./view_block.js";
import { embeddingView } from "./view_embedding.js";
import { lensView } from "./view_lens.js";
import { logitsView } from "./view_logits.js";
import { maskView } from "./view_mask.js";
import { classesView, pictureView } from "./view_picture.js";
import { statesView } from "./view_states.js";
import { tokensView } from "./view_tokens.js";

function translation(app) {
  return app.state.translation ?? app.state.recording?.reply.output?.target;
}

function bestClass(app) {
  return classesOf(app.state.recording)?.[0]?.label;
}

const STAGES = {
  picture: { preview: picturePreview, view: pictureView },
  tokens: { preview: tokensPreview, view: tokensView },
  embedding: { preview: embeddingPreview, view: embeddingView },
  attention: { preview: attentionPreview, view: attentionView },
  states: { preview: statesPreview, view: statesView },
  block: { preview: blockPreview, view: blockView },
  lens: { preview: lensPreview, view: lensView },
  logits: { preview: logitsPreview, view: logitsView },
  beam: { preview: (app) => textPreview(app, translation, "recording", "translation"),
    view: beamView },
  mask: { preview: (app) => textPreview(app, () => app.model.mask_token, "recording"),
    view: maskView },
  classes: { preview: (app) => textPreview(app, bestClass, "recording"), view: classesView },
};

function isThere(name, app) {
  const { model, source } = app;
  const { kind, stacks } = model;
  const isDecoder = kind === "language_model" || kind === "translator";
  const isEmbedded = (part) => source.isLive || source.has(part);
  switch (name) {
    case "picture": return kind === "vision";
    case "tokens": return kind !== "vision";
    case "attention": return attentionGroups(model).size > 0;
    case "states": return stacks.some(({ unit }) => unit !== "attention") && isEmbedded("states");
    case "block": return stacks.some(({ unit }) => unit !== "recurrent");
    case "lens":
      return isDecoder && stacks.at(-1).unit !== "recurrent" && isEmbedded("lens");
    case "logits": return isDecoder;
    case "beam": return kind === "translator" && isEmbedded("translate");
    case "mask": return model.masked_lm && isEmbedded("mask");
    case "classes": return kind === "vision" || isClassifier(model);
    default: return true;
  }
}

function isClassifier({ classes, tensor_names: names }) {
  return Boolean(classes) || Boolean(names?.includes("probabilities/output"));
}

export function stagesOf(app) {
  return Object.entries(STAGES)
    .filter(([name]) => isThere(name, app))
    .map(([name, stage]) => ({ name, ...stage }));
}

// The stage that is open at first: where there is most to see.
export function firstStage(app) {
  const names = stagesOf(app).map(({ name }) => name);
  const order = { language_model: ["logits"], vision: ["picture"] }[app.model.kind] ?? [];
  return [...order, "attention", "states", "tokens"].find((name) => names.includes(name));
}
