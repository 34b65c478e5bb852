// The entry of an exported page, which holds its data and needs no server.

import { embeddedSource } from "./embedded.js";
import { startPage } from "./page.js";

// Builds the page from its data: what the server would answer, and the page's texts.
export function start(data) {
  startPage(embeddedSource(data), { texts: data.strings, cards: data.cards }).catch((error) => {
    document.getElementById("error-text").textContent = error.message;
    document.getElementById("error").hidden = false;
  });
}
