// A picture as patches, and the attention of one of them over the others.

import { bars } from "/web/bars.js";
import { decode, slice } from "/web/tensor.js";
import { part } from "./controls.js";
import { concerns, latest } from "./flow.js";
import { clear, el, percent } from "./make.js";
import { t } from "./strings.js";

export function pictureView(app) {
  const canvas = el("canvas", { class: "picture", tabIndex: 0, role: "img" });
  const readout = el("output", { class: "strip-readout" });
  const label = el("p", { class: "note" });
  const element = el("div", {}, part("picture", t("picture.title"), t("picture.text"),
    el("div", { class: "split" }, el("div", {}, canvas, readout), label)));
  const start = latest();
  let columns = 1;

  const draw = async () => {
    const isCurrent = start();
    const { recording, layer, head } = app.state;
    if (!recording) return;
    const weights = await app.attempt(recording.weights("encoder"));
    if (!isCurrent() || !weights) return;
    const l = Math.min(layer, weights.shape[0] - 1);
    const h = Math.min(head, weights.shape[1] - 1);
    const { reply } = recording;
    columns = reply.patches[1];
    const row = slice(weights, l, h, app.row).values;
    paintPicture(canvas, decode(reply.image), reply.patches, row, app.row);
    const name = app.rows[app.row]?.text ?? "";
    canvas.setAttribute("aria-label", t("picture.label", { layer: l + 1, head: h + 1, token: name }));
    readout.textContent = t("picture.readout", { token: name });
    label.textContent = t("picture.label", { layer: l + 1, head: h + 1, token: name });
  };
  // Token 0 is the class token where there is one more token than patches.
  const extra = () => {
    const { patches } = app.state.recording.reply;
    return app.rows.length - patches[0] * patches[1];
  };
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const { patches } = app.state.recording.reply;
    const y = Math.floor(((event.clientY - box.top) / box.height) * patches[0]);
    const x = Math.floor(((event.clientX - box.left) / box.width) * patches[1]);
    app.set({ row: extra() + y * patches[1] + x });
  });
  canvas.addEventListener("keydown", (event) => {
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

// The picture, darker where less attention falls, with the lines between the patches.
export function paintPicture(canvas, { shape, values }, [rows, columns], weights, chosen) {
  const [height, width, channels] = shape;
  const zoom = Math.max(1, Math.round(320 / Math.max(height, width)));
  canvas.width = width * zoom;
  canvas.height = height * zoom;
  const context = canvas.getContext("2d");
  const small = document.createElement("canvas");
  small.width = width;
  small.height = height;
  const brush = small.getContext("2d");
  const image = brush.createImageData(width, height);
  const extra = weights ? weights.length - rows * columns : 0;
  const most = weights ? Math.max(1e-9, ...weights.subarray(extra)) : 1;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const patch = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
      const light = weights ? 0.2 + 0.8 * (weights[extra + patch] / most) : 1;
      for (let c = 0; c < 3; c += 1) {
        const value = values[(y * width + x) * channels + Math.min(c, channels - 1)];
        image.data[4 * (y * width + x) + c] = 255 * value * light;
      }
      image.data[4 * (y * width + x) + 3] = 255;
    }
  }
  brush.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  paintLines(context, canvas, rows, columns, chosen - extra);
}

function paintLines(context, canvas, rows, columns, chosen) {
  const [width, height] = [canvas.width / columns, canvas.height / rows];
  context.strokeStyle = "rgba(255, 255, 255, 0.35)";
  context.lineWidth = 1;
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < columns; x += 1) context.strokeRect(x * width, y * height, width, height);
  }
  if (chosen < 0 || Number.isNaN(chosen)) return;
  context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--kt-accent");
  context.lineWidth = 3;
  const [x, y] = [chosen % columns, Math.floor(chosen / columns)];
  context.strokeRect(x * width + 1.5, y * height + 1.5, width - 3, height - 3);
}

export function classesView(app) {
  const holder = el("div", {});
  const element = el("div", {}, part("classes", t("classes.title"), t("classes.text"), holder));
  return {
    element,
    update(names) {
      if (!concerns(names, "recording")) return;
      const { reply } = app.state.recording ?? {};
      const classes = reply?.classes ?? reply?.output?.classes;
      clear(holder);
      if (!classes) return holder.append(el("p", { class: "note" }, t("classes.none")));
      bars(holder, { maximum: 1, format: percent, items: classes.map(({ label, probability }) =>
        ({ label: String(label), value: probability })) });
    },
  };
}
