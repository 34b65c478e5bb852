// The entry of the page that the explorer's server serves.

import { liveSource } from "./live.js";
import { startPage } from "./page.js";

const LANGUAGES = ["en", "ja"];

async function textsOf(kind) {
  const entries = await Promise.all(LANGUAGES.map(async (name) =>
    [name, await (await fetch(`/page/${kind}.${name}.json`)).json()]));
  return Object.fromEntries(entries);
}

async function main() {
  const [texts, cards] = await Promise.all([textsOf("strings"), textsOf("cards")]);
  await startPage(liveSource(), { texts, cards });
}

main().catch((error) => {
  document.getElementById("error-text").textContent = error.message;
  document.getElementById("error").hidden = false;
});
