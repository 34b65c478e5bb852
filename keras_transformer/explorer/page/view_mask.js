// Masked words: what a BERT would put where the text says [MASK].

import { bars } from "/web/bars.js";
import { visible } from "/web/dom.js";
import { part } from "./controls.js";
import { concerns, drawer } from "./flow.js";
import { clear, el, percent } from "./make.js";
import { t } from "./strings.js";

export function maskView(app) {
  const body = el("div", { class: "three" });
  const mask = app.model.mask_token ?? "[MASK]";
  const element = el("div", {}, part("mask", t("mask.title"), t("mask.text", { mask }), body));
  const showInBody = drawer(body);

  const draw = async () => {
    const { text } = app.state;
    if (app.source.isLive && !text.includes(mask)) {
      return showInBody(async () => null, () =>
        clear(body, el("p", { class: "note" }, t("mask.none", { mask }))));
    }
    return showInBody(() => app.attempt(app.source.mask(text)), (reply) => reply && show(reply));
  };

  const show = (reply) => {
    clear(body);
    reply.positions.forEach((position, i) => bars(body, {
      title: t("mask.position", { position: position + 1 }), maximum: 1, format: percent,
      items: reply.top[i].map(({ text: word, probability }) =>
        ({ label: visible(word), value: probability })),
    }));
  };

  return {
    element,
    update(names) {
      if (concerns(names, "recording")) draw();
    },
  };
}
