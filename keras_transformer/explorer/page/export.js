// The entry of an exported page, which holds its data and needs no server.

import { embeddedSource } from "./embedded.js";
import { startPage } from "./page.js";

const data = JSON.parse(document.getElementById("data").textContent);
startPage(embeddedSource(data), { texts: data.strings, cards: data.cards }).catch((error) => {
  document.getElementById("error-text").textContent = error.message;
  document.getElementById("error").hidden = false;
});
