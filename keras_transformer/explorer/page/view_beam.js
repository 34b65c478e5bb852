// Beam search as a tree. The length penalty's slider rescales the scores at once; the search itself,
// which may end in other words, is made again when the slider is let go.

import { number } from "/web/dom.js";
import { lengthPenalty, tree } from "/web/tree.js";
import { part, slider } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { clear, el } from "./make.js";
import { t } from "./strings.js";

export function beamView(app) {
  const drawing = el("div", { class: "beam" });
  const written = el("div", { class: "equation", "aria-live": "polite" });
  const action = el("div", { class: "bar" });
  const showInDrawing = drawer(drawing);
  const found = { tree: null, view: null, selected: 0, key: null };
  const settings = () => app.state.beam;
  const change = (changes) => app.set({ beam: { ...settings(), ...changes } });

  const beams = slider({
    label: t("beam.num_beams"), min: 1, max: app.model.translation?.num_beams_max ?? 8, step: 1,
    value: settings().numBeams, show: String,
    onInput: (numBeams) => change({ numBeams }), onRelease: () => search(),
  });
  const penalty = slider({
    label: t("beam.length_penalty"), min: 0, max: 2, step: 0.05,
    value: settings().lengthPenalty, show: (value) => value.toFixed(2),
    onInput: (value) => { change({ lengthPenalty: value }); rescale(); },
    onRelease: () => search(),
  });
  beams.input.dataset.control = "num_beams";
  penalty.input.dataset.control = "length_penalty";
  const element = el("div", {}, part("beam", t("beam.title"), t("beam.text"),
    el("div", { class: "sliders", hidden: !app.source.isLive }, beams.element, penalty.element),
    drawing, written, action));

  const search = async () => {
    const { text, ablate } = app.state;
    const { numBeams, lengthPenalty: alpha } = settings();
    const key = JSON.stringify([text, ablate, numBeams, alpha]);
    if (!text.trim() || key === found.key) return;
    found.key = key;
    app.set({ busy: "translate" });
    await showInDrawing(() => app.attempt(app.source.translate({
      text, num_beams: numBeams, length_penalty: alpha, ablate,
    })), receive);
  };

  const receive = (reply) => {
    if (app.state.busy === "translate") app.set({ busy: null });
    if (!reply) {
      found.key = null;
      return;
    }
    found.tree = reply.tree;
    found.selected = 0;
    app.set({ translation: reply.translation });
    show(reply.tree);
  };

  const show = (data) => {
    clear(drawing);
    found.view = tree(drawing, { ...data, selected: found.selected, onSelect: select });
    write(data);
  };

  const select = (index) => {
    found.selected = index;
    write(found.shown ?? found.tree);
  };

  const rescale = () => {
    if (!found.tree) return;
    const data = rescaled(found.tree, settings().lengthPenalty);
    found.selected = 0;
    found.view.update({ ...data, selected: 0 });
    write(data);
  };

  const write = (data) => {
    found.shown = data;
    const hypothesis = data.hypotheses[found.selected];
    clear(written);
    clear(action);
    if (!hypothesis) return;
    clear(written, formula(data, hypothesis));
    if (!app.source.isLive) return;
    action.append(el("button", { type: "button", onclick: () => {
      app.set({ target: hypothesis.text });
      app.read();
    } }, t("beam.look")));
  };

  return {
    element,
    update(names) {
      if (concerns(names, "recording", "ablate")) search();
    },
  };
}

// The tree with the scores that another length penalty gives to what was found.
export function rescaled(data, alpha) {
  const divisor = (length) => lengthPenalty(length, alpha, data.length_normalization);
  const steps = data.steps.map((candidates, step) => candidates.map((candidate) => ({
    ...candidate,
    score: candidate.score === null ? null : candidate.total / divisor(step + 1),
  })));
  const hypotheses = data.hypotheses.map((hypothesis) => ({
    ...hypothesis, score: totalOf(data, hypothesis) / divisor(hypothesis.length),
  }));
  hypotheses.sort((a, b) => b.score - a.score);
  return { ...data, length_penalty: alpha, steps, hypotheses };
}

// The sum of a hypothesis's log-probabilities, of which its score is the quotient.
function totalOf(data, { path, score, length }) {
  const [step, index] = path?.at(-1) ?? [];
  const total = data.steps[step]?.[index]?.total;
  return total ?? score * lengthPenalty(length, data.length_penalty, data.length_normalization);
}

function formula(data, hypothesis) {
  const alpha = data.length_penalty;
  const kind = data.length_normalization === "length" ? "length" : "gnmt";
  const divisor = lengthPenalty(hypothesis.length, alpha, kind);
  return [el("h4", {}, t("beam.score")), el("p", {}, t(`beam.formula.${kind}`, {
    total: number(totalOf(data, hypothesis), 3), length: hypothesis.length,
    alpha: number(alpha, 2), divisor: number(divisor, 3), score: number(hypothesis.score, 3),
  }))];
}
