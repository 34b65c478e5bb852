// Where the tensors of a recording are, by what they are for.

// The attentions of a model in groups that a person chooses from: "encoder", "decoder", "cross".
export function attentionGroups(model) {
  const groups = new Map();
  for (const attention of model.attentions ?? []) {
    const name = attention.kind === "cross" ? "cross" : attention.stack;
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(attention);
  }
  for (const group of groups.values()) group.sort((a, b) => a.layer - b.layer);
  return groups;
}

// The stacks whose tokens are the rows and the columns of a group's matrices.
export function stacksOf(group) {
  if (group === "cross") return { rows: "decoder", columns: "encoder" };
  return { rows: group, columns: group };
}

export function stackNamed(model, name) {
  return model.stacks.find((stack) => stack.name === name);
}

// The stages of an attention's scores that were recorded, in their order.
export function scoreStages(recording, path) {
  const stages = ["scores", "scaled", "biased", "masked", "weights"];
  return stages.filter((stage) => recording.has(`${path}/${stage}`));
}

// The names of the token vectors, what positions add to them, and the sum.
export function embeddingNames(recording, stack) {
  const find = (ending) =>
    recording.names.find((name) => name.startsWith(`${stack}/`) && name.endsWith(ending)) ??
    recording.names.find((name) => name.split("/").length === 2 && name.endsWith(ending)) ??
    null;
  const own = { encoder: "source_embedding", decoder: "target_embedding" }[stack];
  const names = [`${own}/embedding`, "token_embedding/embedding", "patch_embedding/output"];
  return {
    embedding: names.find((name) => recording.has(name)) ?? find("embedding/embedding"),
    encoding: find("positional_encoding/encoding"),
    sum: find("positional_encoding/output"),
  };
}

// What a block computes for all heads together, in the order in which it was recorded.
export function blockSteps(recording, block) {
  const perHead = /\/(query|key|value|scores|scaled|biased|masked|weights|head_output)$/;
  return recording.names.filter((name) => {
    if (!name.startsWith(`${block}/`) || perHead.test(name)) return false;
    const rest = name.slice(block.length + 1);
    return rest.split("/").length <= 2 && !/^(forward|backward)_/.test(rest);
  });
}

// The path of a layer's block: of the unit of a stack that has no attention, too.
export function blockPath(recording, stack, layer) {
  const paths = [`${stack}/block_${layer}`, `${stack}/layer_${layer}`];
  return paths.find((path) => recording.names.some((name) => name.startsWith(`${path}/`))) ?? null;
}

export function logitsName(recording) {
  const found = recording.names.filter((name) => name.split("/").pop() === "logits");
  return found.at(-1) ?? null;
}

// The classes and their probabilities that a recording's answer tells, of pictures or of texts.
export function classesOf(recording) {
  return recording?.reply.classes ?? recording?.reply.output?.classes ?? null;
}
