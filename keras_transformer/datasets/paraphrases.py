"""Pairs of English sentences, paraphrases or merely similar in wording, for similarity models."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from keras_transformer.datasets import tatoeba
from keras_transformer.datasets.splits import split_groups, word_key, words

LICENSE = tatoeba.LICENSE
"""The license of the data."""
ATTRIBUTION = tatoeba.ATTRIBUTION
"""The attribution to give where the data is used."""

# Stop collecting candidates that share a rare word once there are this many.
_ENOUGH = 100


class LabeledPairs(NamedTuple):
    """Pairs of texts with class labels.

    Attributes:
        first: List of N strings.
        second: List of N strings.
        labels: List of N integers: 1 if both texts mean the same, 0 if not.
    """

    first: list[str]
    second: list[str]
    labels: list[int]


def load_data(
    num_validation: int = 500, num_test: int = 500, seed: int = 0
) -> tuple[LabeledPairs, LabeledPairs, LabeledPairs]:
    """Loads pairs of English sentences, half of them paraphrases, split for training.

    Built from Tatoeba's English-French pairs, which are downloaded once (22 MB) and cached in
    `$KERAS_HOME` or `~/.keras`. Two English sentences with a common French translation are
    paraphrases. Each such pair has a matching negative pair: one of its sentences and another
    sentence of the same part that shares many words with it but no translation, not even
    indirectly through other sentences. Pairs that differ only in case and punctuation are left out.

    The split is by groups of sentences connected by common translations, so that neither a sentence
    nor one that is known to have the same meaning appears in two parts.

    License: CC BY 2.0 FR. Attribution: the contributors of Tatoeba (tatoeba.org), in the selection
    of manythings.org/anki; see `LICENSE` and `ATTRIBUTION`.

    Args:
        num_validation: Minimum number of paraphrases for validation; there may be a few more, and
            each comes with a negative pair.
        num_test: Minimum number of paraphrases for testing, with negative pairs in the same way.
        seed: Integer from 0 to 2**32 - 1; equal seeds give equal splits, on every machine.

    Returns:
        The tuple `(train, validation, test)` of `LabeledPairs`.

    Raises:
        ValueError: If the parts are larger than the corpus.
        RuntimeError: If the data is not in the cache and cannot be downloaded.

    Example:
        >>> import keras_transformer as kt
        >>> train, validation, test = kt.datasets.paraphrases.load_data()
        >>> sum(test.labels) * 2 == len(test.labels)
        True
    """
    everything, _, _ = tatoeba.load_data("fra", num_validation=0, num_test=0)
    sentences, translations = tatoeba.references(everything)
    groups = _connected(sentences, translations)
    pairs = _same_meaning(sentences, translations)
    pair_groups = [groups[one] for one, _ in pairs]
    parts = split_groups(pair_groups, num_validation, num_test, seed)
    generator = np.random.RandomState(seed)
    train, validation, test = (
        _with_others([pairs[i] for i in part], groups, generator) for part in parts
    )
    return train, validation, test


def _connected(sentences: list[str], translations: list[list[str]]) -> dict[str, int]:
    """Returns each sentence's group index; common translations or equal words connect groups."""
    parents: dict[str, str] = {}

    def root(node: str) -> str:
        while parents.setdefault(node, node) != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for sentence, own in zip(sentences, translations, strict=True):
        for other in [f"en {word_key(sentence)}", *(f"fr {word_key(each)}" for each in own)]:
            parents[root(other)] = root(f"= {sentence}")
    numbers: dict[str, int] = {}
    return {
        sentence: numbers.setdefault(root(f"= {sentence}"), len(numbers)) for sentence in sentences
    }


def _same_meaning(sentences: list[str], translations: list[list[str]]) -> list[tuple[str, str]]:
    """Returns all pairs of sentences with a common translation."""
    by_translation: dict[str, list[str]] = {}
    for sentence, own in zip(sentences, translations, strict=True):
        for each in own:
            by_translation.setdefault(each, []).append(sentence)
    found: dict[tuple[str, str], None] = {}
    for own in by_translation.values():
        distinct = sorted({word_key(sentence): sentence for sentence in own}.values())
        found |= dict.fromkeys(itertools.combinations(distinct, 2))
    return list(found)


def _with_others(
    pairs: list[tuple[str, str]], groups: dict[str, int], generator: np.random.RandomState
) -> LabeledPairs:
    """Adds a negative pair for each pair: one of its sentences and a similar sentence."""
    pool = list(dict.fromkeys(sentence for pair in pairs for sentence in pair))
    word_sets = [frozenset(words(sentence)) for sentence in pool]
    holders: dict[str, list[int]] = {}
    for index, own in enumerate(word_sets):
        for word in own:
            holders.setdefault(word, []).append(index)
    result = LabeledPairs([], [], [])
    for pair in pairs:
        # The order within a pair must not reveal its label.
        one, other = pair if generator.randint(2) else pair[::-1]
        like_it = _most_alike(one, pool, word_sets, holders, groups)
        if like_it is not None:
            result.first.extend([one, one])
            result.second.extend([other, like_it])
            result.labels.extend([1, 0])
    return result


def _most_alike(
    sentence: str,
    pool: list[str],
    word_sets: list[frozenset[str]],
    holders: dict[str, list[int]],
    groups: dict[str, int],
) -> str | None:
    """Returns the sentence of another group with the highest word overlap (Jaccard index)."""
    own = frozenset(words(sentence))
    candidates: set[int] = set()
    # Starting with its rarest words: sharing only "the" does not make sentences similar.
    for word in sorted(own, key=lambda word: (len(holders[word]), word)):
        candidates |= {index for index in holders[word] if groups[pool[index]] != groups[sentence]}
        if len(candidates) >= _ENOUGH:
            break

    def likeness(index: int) -> tuple[float, int]:
        return len(own & word_sets[index]) / len(own | word_sets[index]), -index

    best = max(candidates, key=likeness, default=None)
    return None if best is None else pool[best]
