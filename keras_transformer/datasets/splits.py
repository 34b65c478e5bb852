"""Splitting a corpus without overlap between the parts."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

import numpy as np

from keras_transformer.checks import check_integer


def words(text: str) -> list[str]:
    """Returns the words of a text in lowercase, without punctuation."""
    return re.findall(r"\w+", text.lower())


def word_key(text: str) -> str:
    """Returns the words of a text as one string, ignoring case and punctuation."""
    return " ".join(words(text))


def split_groups(
    groups: Sequence[Hashable], num_validation: int, num_test: int, seed: int
) -> tuple[list[int], list[int], list[int]]:
    """Splits items so that all items of a group are in the same part.

    Args:
        groups: The group of each item.
        num_validation: Minimum number of items for validation.
        num_test: Minimum number of items for testing.
        seed: Integer from 0 to 2**32 - 1.

    Returns:
        The indices for training, validation and testing, each in random order; validation and
        test take whole groups until they are large enough.

    Raises:
        ValueError: If a size is not an integer >= 0, or nothing is left for training.
    """
    check_integer(0, num_validation=num_validation, num_test=num_test)
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    # NumPy guarantees that this legacy generator gives the same numbers in every version.
    generator = np.random.RandomState(seed)
    lists = list(members.values())
    order = iter(generator.permutation(len(lists)))
    parts: list[list[int]] = []
    for size in (num_validation, num_test):
        part: list[int] = []
        while len(part) < size:
            group = next(order, None)
            if group is None:
                break
            part += lists[group]
        parts.append(part)
    train = [index for group in order for index in lists[group]]
    if not train:
        raise ValueError(
            f"`num_validation` + `num_test` must leave some of the {len(groups)} items for "
            f"training. Received: num_validation={num_validation}, num_test={num_test}."
        )
    shuffled = [[part[i] for i in generator.permutation(len(part))] for part in (train, *parts)]
    return shuffled[0], shuffled[1], shuffled[2]
