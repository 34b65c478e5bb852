// Two texts beside each other, with the words marked that only one of them has.

import { el } from "./make.js";

// Nodes of both texts; <del> marks what is gone, <ins> what is new.
export function changedWords(first, second) {
  const [a, b] = [first, second].map((text) => text.match(/\s+|[^\s]+/g) ?? []);
  const common = longestCommon(a, b);
  const marked = (words, kept, tag) =>
    words.map((word, i) => (kept.has(i) || !word.trim() ? word : el(tag, {}, word)));
  return {
    before: marked(a, new Set(common.map(([i]) => i)), "del"),
    after: marked(b, new Set(common.map(([, j]) => j)), "ins"),
  };
}

// The pairs of indices of a longest common subsequence.
function longestCommon(a, b) {
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = a[i] === b[j]
        ? lengths[i + 1][j + 1] + 1
        : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) pairs.push([i++, j++]);
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
    else j += 1;
  }
  return pairs;
}
