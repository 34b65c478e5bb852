// A picture as patches, and the attention of one of them over the others.

import { bars } from "/web/bars.js";
import { picture } from "/web/picture.js";
import { decode, slice } from "/web/tensor.js";
import { part, stepper } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { clear, el, percent } from "./make.js";
import { classesOf } from "./names.js";
import { t } from "./strings.js";

export function pictureView(app) {
  const canvas = el("canvas", { class: "picture", tabIndex: 0, role: "application",
    "aria-roledescription": t("picture.role") });
  const readout = el("output", { class: "strip-readout" });
  const heat = el("div", {});
  const element = el("div", {}, part("picture", t("picture.title"), t("picture.text"),
    stepperBar(app), el("div", { class: "split" }, el("div", {}, canvas, readout), heat)));
  const showHeat = drawer(heat);
  let view = null;

  const draw = async () => {
    const { recording } = app.state;
    if (!recording) return;
    await showHeat(() => app.attempt(recording.weights("encoder")),
      (weights) => weights && show(recording, weights));
  };

  const show = (recording, weights) => {
    const layer = Math.min(app.state.layer, weights.shape[0] - 1);
    const head = Math.min(app.state.head, weights.shape[1] - 1);
    const { patches, image } = recording.reply;
    const pixels = inColor(decode(image));
    const values = slice(weights, layer, head, app.row).values.subarray(extraTokens(app));
    paintPicture(canvas, pixels, patches, app.row - extraTokens(app));
    const token = app.rows[app.row]?.text ?? "";
    canvas.setAttribute("aria-label", t("picture.row", { token }));
    readout.textContent = t("picture.row", { token });
    const options = { pixels, heat: { shape: patches, values },
      title: t("picture.label", { layer: layer + 1, head: head + 1, token }) };
    if (view) view.update(options);
    else view = picture(heat, options);
  };

  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const [rows, columns] = app.state.recording.reply.patches;
    const y = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const x = Math.floor(((event.clientX - box.left) / box.width) * columns);
    app.set({ row: extraTokens(app) + y * columns + x });
  });
  canvas.addEventListener("keydown", (event) => {
    const columns = app.state.recording?.reply.patches[1] ?? 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const row = app.row + steps[event.key];
    app.set({ row: Math.max(0, Math.min(app.rows.length - 1, row)) });
  });

  return {
    element,
    update(names) {
      if (concerns(names, "recording", "layer", "head", "row")) draw();
    },
  };
}

function stepperBar(app) {
  const { layers, heads } = app.model.stacks[0];
  return el("div", { class: "bar" },
    stepper({ label: t("layer"), count: layers, value: Math.min(app.state.layer, layers - 1),
      onChange: (layer) => app.set({ layer }) }).element,
    stepper({ label: t("head"), count: heads, value: Math.min(app.state.head, heads - 1),
      onChange: (head) => app.set({ head }) }).element);
}

// How many tokens, such as the class token, come before the patches.
function extraTokens(app) {
  const [rows, columns] = app.state.recording.reply.patches;
  return app.rows.length - rows * columns;
}

// The picture with three channels, whichever it has.
function inColor({ shape: [height, width, channels], values }) {
  const pixels = new Float32Array(height * width * 3);
  for (let i = 0; i < pixels.length; i += 1) {
    pixels[i] = values[Math.floor(i / 3) * channels + Math.min(i % 3, channels - 1)];
  }
  return { shape: [height, width, 3], values: pixels };
}

// Paints a picture with the lines between its patches; one of them may be marked.
export function paintPicture(canvas, pixels, [rows, columns], chosen = -1) {
  const { shape: [height, width], values } = inColor(pixels);
  const small = document.createElement("canvas");
  [small.width, small.height] = [width, height];
  const brush = small.getContext("2d");
  const image = brush.createImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = 255 * values[3 * i + c];
    image.data[4 * i + 3] = 255;
  }
  brush.putImageData(image, 0, 0);
  const zoom = Math.max(1, Math.round(384 / Math.max(height, width)));
  [canvas.width, canvas.height] = [width * zoom, height * zoom];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  paintLines(context, canvas, rows, columns, chosen);
}

function paintLines(context, canvas, rows, columns, chosen) {
  const [width, height] = [canvas.width / columns, canvas.height / rows];
  context.strokeStyle = "rgba(128, 128, 128, 0.6)";
  context.lineWidth = 1;
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < columns; x += 1) context.strokeRect(x * width, y * height, width, height);
  }
  if (chosen < 0) return;
  context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--kt-accent");
  context.lineWidth = 4;
  const [x, y] = [chosen % columns, Math.floor(chosen / columns)];
  context.strokeRect(x * width + 2, y * height + 2, width - 4, height - 4);
}

export function classesView(app) {
  const holder = el("div", {});
  const element = el("div", {}, part("classes", t("classes.title"), t("classes.text"), holder));
  return {
    element,
    update(names) {
      if (!concerns(names, "recording")) return;
      const classes = classesOf(app.state.recording);
      clear(holder);
      if (!classes) return holder.append(el("p", { class: "note" }, t("classes.none")));
      bars(holder, { maximum: 1, format: percent, items: classes.map(({ label, probability }) =>
        ({ label: String(label), value: probability })) });
    },
  };
}
