// Temperature, top-k, top-p and minimum probability. The last step of a slider switches it off.

import { slider } from "./controls.js";
import { el } from "./make.js";
import { t } from "./strings.js";

const STEPS = 100;

export function samplingControls(app) {
  const size = app.model.sampling?.top_k_max ?? app.model.vocabulary_size;
  const set = (changes) => app.set({ sampling: { ...app.state.sampling, ...changes } });
  const { temperature, topK, topP, minP } = app.state.sampling;
  const all = t("sampling.all");
  const controls = [
    slider({
      label: t("sampling.temperature"), min: -1, max: 1, step: 0.01, value: Math.log10(temperature),
      show: (place) => temperatureAt(place).toFixed(2),
      onInput: (place) => set({ temperature: temperatureAt(place) }),
    }),
    slider({
      label: t("sampling.top_k"), min: 0, max: STEPS, step: 1, value: placeOfCount(topK, size),
      show: (place) => (place >= STEPS ? all : String(countAt(place, size))),
      onInput: (place) => set({ topK: place >= STEPS ? null : countAt(place, size) }),
    }),
    slider({
      label: t("sampling.top_p"), min: 0.01, max: 1, step: 0.01, value: topP ?? 1,
      show: (p) => (p >= 1 ? all : p.toFixed(2)),
      onInput: (p) => set({ topP: p >= 1 ? null : p }),
    }),
    slider({
      label: t("sampling.min_p"), min: 0, max: 1, step: 0.01, value: minP ?? 0,
      show: (p) => (p <= 0 ? all : p.toFixed(2)),
      onInput: (p) => set({ minP: p <= 0 ? null : p }),
    }),
  ];
  const names = ["temperature", "top_k", "top_p", "min_p"];
  controls.forEach(({ input }, i) => { input.dataset.control = names[i]; });
  return el("div", { class: "sliders" }, controls.map(({ element }) => element));
}

// From 0.1 to 10, with 1 in the middle.
function temperatureAt(place) {
  return Math.round(10 ** place * 100) / 100;
}

// From 1 up, in steps that grow with the count.
function countAt(place, size) {
  return Math.max(1, Math.min(size, Math.round(size ** (place / STEPS))));
}

function placeOfCount(count, size) {
  return count === null ? STEPS : Math.round((STEPS * Math.log(count)) / Math.log(size));
}
