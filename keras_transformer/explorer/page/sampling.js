// Probabilities of the next token: the temperature and the filters of `keras_transformer.decoding`,
// in its order (temperature, top-k, top-p, minimum probability) and with its rules for ties.

// The logits (V) as they are after each step, and the probabilities they end in.
export function distribution(logits, { temperature = 1, topK = null, topP = null, minP = null }) {
  const scaled = new Float32Array(logits.length);
  const divisor = Math.fround(temperature);
  for (let id = 0; id < logits.length; id += 1) {
    scaled[id] = temperature === 1 ? logits[id] : logits[id] / divisor;
  }
  const kept = new Uint8Array(logits.length).fill(1);
  if (topK !== null && topK < logits.length) keepTopK(scaled, kept, topK);
  if (topP !== null && topP < 1) keepTopP(scaled, kept, topP);
  if (minP !== null && minP > 0) keepMinP(scaled, kept, minP);
  const { probabilities, largest, total } = softmax(scaled, kept);
  return { scaled, kept, probabilities, largest, total, numKept: kept.reduce((a, b) => a + b, 0) };
}

// The softmax over the tokens kept; the largest logit is subtracted first, as everywhere.
export function softmax(values, kept = null) {
  let largest = -Infinity;
  for (let id = 0; id < values.length; id += 1) {
    if ((kept === null || kept[id]) && values[id] > largest) largest = values[id];
  }
  const probabilities = new Float64Array(values.length);
  let total = 0;
  for (let id = 0; id < values.length; id += 1) {
    if (kept !== null && !kept[id]) continue;
    probabilities[id] = Math.exp(values[id] - largest);
    total += probabilities[id];
  }
  for (let id = 0; id < values.length; id += 1) probabilities[id] /= total;
  return { probabilities, largest, total };
}

// The ids of the largest values, best first; ties go to the lower ids.
export function best(values, count) {
  const least = nthLargest(values, count);
  const ids = [];
  for (let id = 0; id < values.length; id += 1) if (values[id] >= least) ids.push(id);
  ids.sort((a, b) => values[b] - values[a] || a - b);
  return ids.slice(0, count);
}

function nthLargest(values, count) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, sorted.length - count)];
}

function keepTopK(scaled, kept, count) {
  keepBest(scaled, kept, nthLargest(scaled, count), count);
}

function keepTopP(scaled, kept, p) {
  const { probabilities } = softmax(scaled, kept);
  const descending = Float64Array.from(probabilities).sort().reverse();
  let before = 0;
  let count = 0;
  while (count < descending.length && before < p * (1 - 1e-6)) {
    before += descending[count];
    count += 1;
  }
  keepBest(probabilities, kept, descending[count - 1], count);
}

// Keeps the `count` largest values, the least of which is given; ties go to the lower ids.
function keepBest(values, kept, least, count) {
  let above = 0;
  for (let id = 0; id < values.length; id += 1) above += values[id] > least ? 1 : 0;
  let equal = 0;
  for (let id = 0; id < values.length; id += 1) {
    if (values[id] === least) equal += 1;
    const isKept = values[id] > least || (values[id] === least && equal <= count - above);
    if (!isKept) kept[id] = 0;
  }
}

function keepMinP(scaled, kept, p) {
  const { largest } = softmax(scaled, kept);
  const gap = Math.fround(Math.log(p));
  for (let id = 0; id < scaled.length; id += 1) {
    if (Math.fround(scaled[id] - largest) < gap) kept[id] = 0;
  }
}
