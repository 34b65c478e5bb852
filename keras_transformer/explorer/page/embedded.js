// The data of an exported page, with the functions of a server. What needs a model is not there.

import { decode, slice } from "/web/tensor.js";
import { attentionGroups } from "./names.js";
import { namedTensors } from "./recording.js";
import { t } from "./strings.js";

export function embeddedSource(data) {
  const decoded = new Map();
  const tensorOf = (key, wire) => {
    if (!wire) throw missing();
    if (!decoded.has(key)) decoded.set(key, decode(wire));
    return decoded.get(key);
  };
  // The weights of all layers and heads are kept together, in half the bytes.
  const weightsOf = (name, index) => {
    for (const [kind, group] of attentionGroups(data.model)) {
      const layer = group.findIndex(({ path }) => `${path}/weights` === name);
      if (layer >= 0) return slice(tensorOf(`weights/${kind}`, data.weights?.[kind]), layer, ...index);
    }
    throw missing();
  };
  const reply = async (value) => {
    if (value === null || value === undefined) throw missing();
    return value;
  };
  return {
    isLive: false,
    text: () => data.run?.text ?? "",
    has: (name) => data[name] !== null && data[name] !== undefined,
    model: () => reply(data.model),
    run: () => reply(data.run),
    tensor: async (run, name, index) => {
      if (name.endsWith("/weights") && !data.tensors?.[name]) return weightsOf(name, index);
      const tensor = tensorOf(`tensors/${name}`, data.tensors?.[name]);
      return index.length ? slice(tensor, ...index) : tensor;
    },
    weights: async (run, kind) => tensorOf(`weights/${kind}`, data.weights?.[kind]),
    lens: () => reply(data.lens),
    saliency: async () => {
      throw missing();
    },
    states: async () => namedTensors(await reply(data.states)),
    vocabulary: () => reply(data.vocabulary),
    translate: () => reply(data.translate),
    mask: () => reply(data.mask),
    image: () => reply(data.image),
    compare: () => reply(data.compare),
  };
}

function missing() {
  const error = new Error(t("error.not_embedded"));
  error.isQuiet = true;
  return error;
}
