// All that a block computes for its tokens, step by step: sums, norms, the feed-forward network.

import { number } from "/web/dom.js";
import { part, segments, stepper } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { append, el, redraw } from "./make.js";
import { blockPath, blockSteps, stackNamed } from "./names.js";
import { t, tOr } from "./strings.js";
import { strip } from "./strip.js";

export function blockView(app) {
  const head = el("div", { class: "bar" });
  const body = el("div", {});
  const element = el("div", {}, head, body);
  const showInBody = drawer(body);
  let stack = null;

  const drawHead = () => {
    const stacks = Object.keys(app.state.recording?.tokens ?? {});
    if (!stacks.includes(stack)) stack = stacks.at(-1) ?? null;
    const layers = stackNamed(app.model, stack)?.layers ?? 1;
    redraw(head, () => append(head, [
      stacks.length < 2 ? null : segments({
        label: t("stack.choice"),
        options: stacks.map((value) => ({ value, text: t(`stack.${value}`) })),
        value: stack,
        onChange: (value) => { stack = value; drawHead(); draw(); },
      }),
      stepper({
        label: t("layer"), count: layers, value: Math.min(app.state.layer, layers - 1),
        onChange: (layer) => app.set({ layer }),
      }).element,
    ]));
  };

  const draw = async () => {
    const { recording, layer } = app.state;
    if (!recording) return;
    const layers = stackNamed(app.model, stack)?.layers ?? 1;
    const path = blockPath(recording, stack, Math.min(layer, layers - 1));
    const names = path === null ? [] : blockSteps(recording, path);
    await showInBody(
      () => Promise.all(names.map((name) => recording.tensor(name).catch(() => null))),
      (tensors) => show(recording, path, names, tensors));
  };

  const show = (recording, path, names, tensors) => {
    const steps = el("ol", { class: "steps" });
    const texts = recording.tokens[stack].map(({ text }) => text);
    names.forEach((name, index) => {
      const tensor = tensors[index];
      if (tensor?.shape.length !== 2 || tensor.shape[0] !== texts.length) return;
      steps.append(stepOf(name.slice(path.length + 1), tensor, texts));
    });
    redraw(body, () => body.append(part("block", t("block.title"), t("block.note"), steps)));
    if (!steps.children.length) body.append(el("p", { class: "note" }, t("error.not_embedded")));
  };

  const stepOf = (name, tensor, texts) => {
    const item = el("li", { "data-part": stepKind(name) });
    const width = tensor.shape.at(-1);
    const isReading = app.rows.length === texts.length;
    const row = isReading ? app.row : 0;
    strip(item, {
      rows: texts, width, values: tensor.values, title: tOr(`step.${name}`, name),
      note: t(`step.${stepKind(name)}.note`),
      selected: row,
      tall: 14,
      onSelect: isReading ? (chosen) => app.chooseRow(chosen) : undefined,
    });
    item.append(el("p", { class: "numbers" }, statistics(tensor.values, row, width, texts[row])));
    return item;
  };

  return {
    element,
    update(names) {
      if (concerns(names, "recording", "layer")) drawHead();
      if (concerns(names, "recording", "layer", "row")) draw();
    },
  };
}

// What kind of step a name is, for its explanation and for the walk-through.
function stepKind(name) {
  if (name.endsWith("_residual")) return "residual";
  if (name.endsWith("_norm/output")) return "norm";
  if (name === "feed_forward/hidden") return "hidden";
  if (name.startsWith("feed_forward")) return "feed_forward";
  if (name.endsWith("attention/output")) return "projection";
  if (name === "output") return "block_output";
  return "other";
}

function statistics(values, row, width, token) {
  const vector = values.subarray(row * width, (row + 1) * width);
  const mean = vector.reduce((sum, value) => sum + value, 0) / width;
  const variance = vector.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
  return t("block.statistics", {
    token, mean: number(mean, 2), deviation: number(Math.sqrt(variance), 2),
  });
}
