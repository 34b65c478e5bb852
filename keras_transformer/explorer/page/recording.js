// One recorded run of the model: its tokens, and its tensors as they are asked for.

import { decode } from "/web/tensor.js";

export class Recording {
  constructor(source, request, reply) {
    this.source = source;
    this.request = request;
    this.reply = reply;
    this.found = new Map();
  }

  get tokens() {
    return this.reply.tokens ?? {};
  }

  get names() {
    return Object.keys(this.reply.tensors ?? {});
  }

  shape(name) {
    return this.reply.tensors[name];
  }

  has(name) {
    return name in (this.reply.tensors ?? {});
  }

  tensor(name, index = []) {
    return this.once(`${name}[${index}]`, (run) => this.source.tensor(run, name, index));
  }

  // The weights of all layers and heads (L, N, T, S) of "encoder", "decoder" or "cross".
  weights(kind) {
    return this.once(`weights ${kind}`, (run) => this.source.weights(run, kind));
  }

  lens() {
    return this.once("lens", (run) => this.source.lens(run));
  }

  states() {
    return this.once("states", (run) => this.source.states(run));
  }

  saliency(position) {
    return this.once(`saliency ${position}`, (run) => this.source.saliency(run, position));
  }

  // The server keeps few runs: one that it has forgotten is made again, with equal results.
  once(key, ask) {
    if (!this.found.has(key)) {
      const answer = this.askOrRunAgain(ask);
      answer.catch(() => this.found.delete(key));
      this.found.set(key, answer);
    }
    return this.found.get(key);
  }

  async askOrRunAgain(ask) {
    const { run } = this.reply;
    try {
      return await ask(run);
    } catch (error) {
      if (error.status !== 404 || !this.request) throw error;
      if (this.reply.run === run) {
        this.again ??= this.source.run(this.request).finally(() => (this.again = null));
        this.reply = await this.again;
      }
      return ask(this.reply.run);
    }
  }
}

// Tensors with names, from a list or an object that holds one.
export function namedTensors(reply) {
  const entries = Array.isArray(reply) ? reply : (reply.states ?? []);
  return entries.map(({ name, tensor }) => ({ name, ...decode(tensor) }));
}
