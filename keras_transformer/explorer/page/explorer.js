// What the page knows, and what a person can ask for. Views hear of every change by its names.

import { logitsName } from "./names.js";
import { Recording } from "./recording.js";
import { t } from "./strings.js";

const FIRST = {
  text: "",
  target: "",
  stage: null,
  group: null, // of attentions: "encoder", "decoder", "cross"
  layer: 0,
  head: 0,
  row: null, // of the tokens that the model reads; null for the one that tells most
  candidate: null, // the id whose probability is written out
  sampling: { temperature: 1, topK: null, topP: null, minP: null },
  beam: { numBeams: 4, lengthPenalty: 0.6 },
  newTokens: 20,
  seed: 1,
  ablate: {}, // heads switched off, by the path of their attention
  recording: null,
  whole: null, // the recording of the same text with all heads on
  words: null, // the texts of the vocabulary
  logits: null, // of the row chosen
  stream: null, // {prompt, tokens} while the model writes
  generated: 0, // tokens at the end of the text that the model wrote
  announcement: "",
  image: null,
  busy: null, // what is going on: "run", "generate", ...
  error: null,
};

export class Explorer {
  constructor(source, model) {
    this.source = source;
    this.model = model;
    this.state = { ...FIRST };
    this.listeners = new Set();
    this.turn = 0;
    this.stopper = null;
  }

  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  set(changes) {
    Object.assign(this.state, changes);
    const names = new Set(Object.keys(changes));
    for (const listener of [...this.listeners]) listener(names);
  }

  // Shows what went wrong; what a person stopped, or an export lacks, is no error.
  fail(error) {
    if (error.name === "AbortError" || error.isQuiet) return;
    this.set({ error: error.message, busy: null });
  }

  // Awaits a promise; its error is shown, and undefined comes back.
  async attempt(promise) {
    try {
      return await promise;
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  get rows() {
    const { recording } = this.state;
    return recording?.tokens.decoder ?? recording?.tokens.encoder ?? [];
  }

  get row() {
    const last = Math.max(0, this.rows.length - 1);
    // A translation begins in the first row, and a picture's class token gathers what is needed.
    const isFirst = this.model.kind === "translator" || this.model.kind === "vision";
    return Math.min(this.state.row ?? (isFirst ? 0 : last), last);
  }

  get hasHeadsOff() {
    return Object.values(this.state.ablate).some((heads) => heads.length > 0);
  }

  // Runs the model on the text (and target), with the heads that are on.
  async read({ keepRow = false } = {}) {
    const turn = ++this.turn;
    const { text, target, ablate, image } = this.state;
    this.set({ busy: "run", error: null });
    const request = { text, target: target || null, ablate };
    try {
      const reply = this.model.kind === "vision"
        ? await this.source.image({ ...image, ablate })
        : await this.source.run(request);
      if (turn !== this.turn) return;
      const recording = new Recording(this.source, request, reply);
      const changes = { recording, busy: null };
      if (!keepRow) changes.row = null;
      if (!this.hasHeadsOff) changes.whole = recording;
      this.set(changes);
      await this.readLogits();
    } catch (error) {
      if (turn === this.turn) this.fail(error);
    }
  }

  async readLogits() {
    const { recording } = this.state;
    const name = recording && logitsName(recording);
    if (!name) return;
    const row = this.row;
    const answer = await this.attempt(recording.tensor(name, [row]));
    if (!answer || recording !== this.state.recording || row !== this.row) return;
    this.set({ logits: answer.values });
    if (this.state.words === null) this.readWords();
  }

  async readWords() {
    const words = await this.attempt(this.source.vocabulary());
    if (words) this.set({ words });
  }

  chooseRow(row) {
    this.set({ row, candidate: null });
    this.readLogits();
  }

  word(id) {
    return this.state.words?.[id] ?? `#${id}`;
  }

  // Switches a head on or off, and runs the model again.
  async toggleHead(path, head) {
    const heads = new Set(this.state.ablate[path] ?? []);
    if (!heads.delete(head)) heads.add(head);
    const ablate = { ...this.state.ablate, [path]: [...heads].sort((a, b) => a - b) };
    if (heads.size === 0) delete ablate[path];
    this.set({ ablate });
    await this.read({ keepRow: true });
  }

  async allHeadsOn() {
    this.set({ ablate: {} });
    await this.read({ keepRow: true });
  }

  // Writes on token by token; `stop` ends it.
  async generate() {
    const { text, sampling, newTokens, seed } = this.state;
    this.stop();
    const stopper = new AbortController();
    this.stopper = stopper;
    this.set({ busy: "generate", error: null, generated: 0 });
    const request = {
      text,
      max_new_tokens: newTokens,
      temperature: sampling.temperature,
      top_k: sampling.topK,
      top_p: sampling.topP,
      min_p: sampling.minP,
      seed,
    };
    let written = "";
    let problem = null;
    try {
      for await (const event of this.source.generate(request, stopper.signal)) {
        if (event.prompt) this.set({ stream: { prompt: event.prompt, tokens: [] } });
        else if (event.done) written = event.text;
        else this.receive(event);
      }
    } catch (error) {
      problem = error;
    }
    if (this.stopper !== stopper) return;
    await this.finish(text, written);
    if (problem) this.fail(problem);
  }

  receive(event) {
    const stream = this.state.stream ?? { prompt: [], tokens: [] };
    const changes = { stream: { ...stream, tokens: [...stream.tokens, event] } };
    if (event.logits) Object.assign(changes, { logits: event.logits, candidate: event.id });
    this.set(changes);
  }

  async finish(text, written) {
    const tokens = this.state.stream?.tokens ?? [];
    this.stopper = null;
    if (tokens.length === 0) return this.set({ busy: null, stream: null });
    this.set({
      // After a stop, the tokens' readable texts have to do.
      text: written || text + plainText(tokens), busy: null, generated: tokens.length,
      seed: this.state.seed + 1, stream: null,
      announcement: t("generate.done", { count: tokens.length }),
    });
    return this.read();
  }

  stop() {
    this.stopper?.abort();
  }
}

// The text of tokens whose spaces and line ends were made visible.
export function plainText(tokens) {
  const joined = tokens.map((token) => token.text).join("");
  return joined.replace(/␣/g, " ").replace(/⏎/g, "\n");
}
