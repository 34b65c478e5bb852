// The text as the model gets it: tokens with their ids; what each row reads and writes.

import { chips } from "./chips.js";
import { part } from "./controls.js";
import { concerns } from "./flow.js";
import { el, redraw } from "./make.js";
import { t } from "./strings.js";

export function tokensView(app) {
  const element = el("div", {});
  let lists = [];

  const draw = () => {
    lists = [];
    const { recording } = app.state;
    redraw(element, () => {
      const { encoder, decoder } = recording?.tokens ?? {};
      if (encoder) addTokens(encoder, decoder ? "source" : "tokens");
      if (decoder) addRows(recording, decoder);
    });
  };

  const addTokens = (tokens, name) => {
    const holder = el("div", {});
    element.append(part(name, t(`tokens.${name}`), t(`tokens.${name}.note`, {
      count: tokens.length, size: app.model.vocabulary_size ?? "–",
    }), holder));
    const isChoosable = !recordingHasDecoder();
    const list = chips(holder, {
      items: tokens.map(({ id, text }) => ({ text, below: id })),
      selected: isChoosable ? app.row : null,
      label: t(`tokens.${name}`),
      onSelect: isChoosable ? (row) => app.chooseRow(row) : undefined,
    });
    if (isChoosable) lists.push(list);
  };
  const recordingHasDecoder = () => Boolean(app.state.recording?.tokens.decoder);

  const addRows = (recording, tokens) => {
    const holder = el("div", {});
    const writes = recording.reply.writes ?? [];
    const first = tokens.length - app.state.generated;
    element.append(part("rows", t("tokens.rows"), t("tokens.rows.note", {
      count: tokens.length, size: app.model.vocabulary_size ?? "–",
    }), holder));
    lists.push(chips(holder, {
      items: tokens.map(({ id, text }, row) => ({
        text, below: `→ ${writes[row] ?? "?"}`, note: t("tokens.id", { id }),
        className: row >= first ? "written" : "",
      })),
      selected: app.row,
      label: t("tokens.rows"),
      onSelect: (row) => app.chooseRow(row),
    }));
  };

  return {
    element,
    update(names) {
      if (concerns(names, "recording")) draw();
      else if (names.has("row")) for (const list of lists) list.update({ selected: app.row });
    },
  };
}
