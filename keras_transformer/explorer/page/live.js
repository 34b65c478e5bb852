// The explorer's server, as functions. An error carries the message that the server has for a person.

import { decode } from "/web/tensor.js";
import { namedTensors } from "./recording.js";
import { t, tOr } from "./strings.js";

async function post(path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(t("error.unreachable"));
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  let message = t("error.status", { status: response.status });
  try {
    message = messageOf(await response.json()) || message;
  } catch {
    // The answer was no JSON: the status has to do.
  }
  const error = new Error(message);
  error.status = response.status;
  return error;
}

// What went wrong, in the page's language where it has words for it.
function messageOf({ error, code, values }) {
  return code ? tOr(`refused.${code}`, error, values) : error;
}

async function getJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw await failure(response);
  return response.json();
}

// The objects of a stream of newline-delimited JSON.
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
  if (rest) yield JSON.parse(rest);
}

// What the page asks of a model: here a server answers, in an export the data embedded.
export function liveSource() {
  const json = async (path, body, signal) => (await post(path, body, signal)).json();
  let words = null;
  return {
    isLive: true,
    model: () => getJson("/api/model"),
    run: (request) => json("/api/run", request),
    tensor: async (run, name, index) => {
      const reply = await json("/api/tensor", { run, name, index });
      return decode(reply.tensor ?? reply);
    },
    weights: async (run, kind) => decode((await json("/api/weights", { run, kind })).tensor),
    lens: (run) => json("/api/lens", { run }),
    saliency: (run, position) => json("/api/saliency", { run, position }),
    states: async (run) => namedTensors(await json("/api/states", { run })),
    vocabulary: () => {
      words ??= json("/api/vocabulary", {}).then((reply) => reply.texts);
      words.catch(() => (words = null));
      return words;
    },
    translate: (request) => json("/api/translate", request),
    mask: (text) => json("/api/mask", { text }),
    image: (request) => json("/api/image", request),
    // The first answer may take a while, and then says in lines how far it is.
    compare: async (text, onProgress) => {
      let last = null;
      for await (const event of lines(await post("/api/compare", { text }))) {
        if (event.error) throw new Error(messageOf(event));
        if (event.progress === undefined) last = event;
        else onProgress?.(event);
      }
      return last;
    },
    generate: async function* (request, signal) {
      for await (const event of lines(await post("/api/generate", request, signal))) {
        if (event.error) throw new Error(messageOf(event));
        yield event.logits ? { ...event, logits: decode(event.logits).values } : event;
      }
    },
  };
}
