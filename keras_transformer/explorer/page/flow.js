// The way from text to next word: a row of stages, of which one is open below the row. On narrow
// screens the stages stand one below the other, and what is open follows its stage.

import { uniqueId } from "/web/dom.js";
import { clear, el } from "./make.js";
import { t } from "./strings.js";

// `stages` are {name, preview(app), view(app)}; a preview and a view are {element, update(names)}.
export function flow(parent, app, stages) {
  const parts = stages.map((stage) => stageElements(app, stage));
  const element = el("div", { class: "flow" },
    parts.map(({ tile, panel }) => [tile, panel]));
  element.style.setProperty("--stages", String(stages.length));
  parent.append(element);

  const open = (name) => {
    for (const { stage, button, tile, panel } of parts) {
      const isOpen = stage.name === name;
      button.setAttribute("aria-expanded", String(isOpen));
      tile.classList.toggle("open", isOpen);
      panel.hidden = !isOpen;
    }
    const part = parts.find(({ stage }) => stage.name === name);
    if (!part) return;
    if (!part.view) {
      part.view = part.stage.view(app);
      clear(part.panel, part.view.element);
    }
    part.view.update(null);
  };

  const stopListening = app.listen((names) => {
    for (const { preview } of parts) preview.update(names);
    if (names.has("stage")) open(app.state.stage);
    else parts.find(({ stage }) => stage.name === app.state.stage)?.view?.update(names);
  });
  for (const { preview } of parts) preview.update(null);
  open(app.state.stage);
  return { element, remove: () => { stopListening(); element.remove(); } };
}

function stageElements(app, stage) {
  const panelId = uniqueId("stage");
  const buttonId = uniqueId("stage-button");
  const preview = stage.preview(app);
  const toggle = () => app.set({ stage: app.state.stage === stage.name ? null : stage.name });
  const button = el("button", {
    type: "button", class: "tile-button", id: buttonId, "aria-expanded": "false",
    "aria-controls": panelId, onclick: toggle,
  }, t(`stage.${stage.name}`));
  const tile = el("div", { class: "tile", "data-stage": stage.name },
    el("h2", {}, button),
    el("div", { class: "preview", "aria-hidden": "true" }, preview.element));
  const panel = el("div", {
    class: "panel", id: panelId, role: "region", "aria-labelledby": buttonId, hidden: true,
    "data-panel": stage.name,
  });
  return { stage, preview, button, tile, panel, view: null };
}

// Whether any of the names changed; null stands for all.
export function concerns(names, ...wanted) {
  return names === null || wanted.some((name) => names.has(name));
}

// Draws an element from answers that take a moment. Only the answer to the latest question is shown;
// until then the element is busy, as what it shows belongs to an earlier choice.
export function drawer(element) {
  let turn = 0;
  return async (ask, show) => {
    turn += 1;
    const mine = turn;
    element.setAttribute("aria-busy", "true");
    try {
      const answer = await ask();
      if (mine === turn) show(answer);
    } finally {
      if (mine === turn) element.removeAttribute("aria-busy");
    }
  };
}
