"""Pairs of English sentences that mean the same, or only look like it: for similarity."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from keras_transformer.datasets import tatoeba
from keras_transformer.datasets.splits import split_groups, word_key, words

LICENSE = tatoeba.LICENSE
"""The licence of the data."""
ATTRIBUTION = tatoeba.ATTRIBUTION
"""Whom to name where the data is used."""

# So many sentences that share a rare word are looked through for the one most alike.
_ENOUGH = 100


class LabelledPairs(NamedTuple):
    """Pairs of texts with their classes.

    Attributes:
        first: List of N strings.
        second: List of N strings.
        labels: List of N integers: 1 where the two mean the same, 0 where not.
    """

    first: list[str]
    second: list[str]
    labels: list[int]


def load_data(
    num_validation: int = 500, num_test: int = 500, seed: int = 0
) -> tuple[LabelledPairs, LabelledPairs, LabelledPairs]:
    """Loads pairs of English sentences, half of them paraphrases, split for training.

    Made of Tatoeba's English-French pairs, which are downloaded once (22 MB) and cached in
    `$KERAS_HOME` or `~/.keras`. Two English sentences with a common French translation are a pair
    that means the same. For each, one of them also comes in a pair that does not: with a sentence
    of the same part that shares many of its words, but no translation, not even over further
    sentences. Pairs that differ in case and punctuation alone are left out.

    No sentence is in two parts, nor is one that means the same as far as the translations tell: the
    split is by groups of sentences that common translations connect.

    Licence: CC BY 2.0 FR. Attribution: the contributors of Tatoeba (tatoeba.org), in the selection
    of manythings.org/anki; see `LICENSE` and `ATTRIBUTION`.

    Args:
        num_validation: Number of paraphrases for validation, or a few more; as many pairs that
            are none come to them.
        num_test: Number of paraphrases for the test, in the same way.
        seed: Integer from 0 to 2**32 - 1; equal seeds give equal splits, on every machine.

    Returns:
        The tuple `(train, validation, test)` of `LabelledPairs`.

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
    """The number of each sentence's group, over common translations and over equal words."""
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
    """All pairs of sentences with a common translation."""
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
) -> LabelledPairs:
    """Each pair, and one of its sentences with one like it that means something else."""
    pool = list(dict.fromkeys(sentence for pair in pairs for sentence in pair))
    word_sets = [frozenset(words(sentence)) for sentence in pool]
    holders: dict[str, list[int]] = {}
    for index, own in enumerate(word_sets):
        for word in own:
            holders.setdefault(word, []).append(index)
    result = LabelledPairs([], [], [])
    for pair in pairs:
        # Which comes first must not tell the two kinds of pairs apart.
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
    """The sentence of another group that has the largest share of words in common with one."""
    own = frozenset(words(sentence))
    candidates: set[int] = set()
    # From its rarest words on: what shares nothing but "the" with it is not like it.
    for word in sorted(own, key=lambda word: (len(holders[word]), word)):
        candidates |= {index for index in holders[word] if groups[pool[index]] != groups[sentence]}
        if len(candidates) >= _ENOUGH:
            break

    def likeness(index: int) -> tuple[float, int]:
        return len(own & word_sets[index]) / len(own | word_sets[index]), -index

    best = max(candidates, key=likeness, default=None)
    return None if best is None else pool[best]
