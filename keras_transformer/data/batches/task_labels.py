"""Labels of a task's examples: classes, numbers, a class per token, or several by name.

Shape letters: N examples, B batch, T length.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

IGNORED = -1
"""Label of tokens that do not count."""


class Labels(Protocol):
    """The labels of all examples."""

    def batch(self, members: np.ndarray, width: int) -> tuple[Any, np.ndarray | None]:
        """Returns the labels of some examples and their sample weights, None if all are 1."""

    def arrays(self) -> list[np.ndarray]:
        """Returns the labels as arrays, for a fingerprint."""


class LabelsOfExamples:
    """One label for each example: an integer, or one or several floats."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def batch(self, members, width):
        return self.array[members], None

    def arrays(self):
        return [self.array]


class NamedLabels:
    """Labels of several outputs by name."""

    def __init__(self, parts: dict[str, np.ndarray]):
        self.parts = parts

    def batch(self, members, width):
        return {name: array[members] for name, array in self.parts.items()}, None

    def arrays(self):
        return [self.parts[name] for name in sorted(self.parts)]


class LabelsOfTokens:
    """One label for each token, -1 for tokens that do not count."""

    def __init__(self, rows: list[np.ndarray]):
        self.rows = rows

    def batch(self, members, width):
        labels = np.zeros((len(members), width), "int32")
        weights = np.zeros((len(members), width), "float32")
        for place, member in enumerate(members):
            row = self.rows[member]
            labels[place, : len(row)] = np.maximum(row, 0)
            weights[place, : len(row)] = row != IGNORED
        return labels, weights

    def arrays(self):
        return [np.array([len(row) for row in self.rows]), np.concatenate(self.rows)]


def read_labels(labels: Any, lengths: Sequence[int] | None, count: int) -> Labels:
    """Validates the labels of all examples.

    Args:
        labels: N integers >= 0; N floats, or (N, K) floats; N lists with one integer >= -1 for each
            token; or a dict of such integers or floats by output.
        lengths: Number of tokens of each example; None if examples have several rows.
        count: N.

    Returns:
        The labels.

    Raises:
        ValueError: If the labels have none of these forms.
    """
    if isinstance(labels, Mapping):
        return NamedLabels(
            {key: _array(one, f"labels[{key!r}]", count) for key, one in labels.items()}
        )
    is_ragged = lengths is not None and len(labels) > 0 and _is_row(labels[0])
    if is_ragged:
        return LabelsOfTokens(_token_rows(labels, lengths))
    return LabelsOfExamples(_array(labels, "labels", count))


def _is_row(label) -> bool:
    """Whether a label is a list of integers."""
    return isinstance(label, (list, tuple, np.ndarray)) and np.asarray(label).dtype.kind in "iu"


def _array(labels, name, count) -> np.ndarray:
    array = np.asarray(labels)
    is_classes = array.shape == (count,) and array.dtype.kind in "iu" and array.min() >= 0
    is_numbers = array.ndim in (1, 2) and len(array) == count and array.dtype.kind == "f"
    if is_classes:
        return array.astype("int32")
    if is_numbers and np.isfinite(array).all():
        return array.astype("float32")
    raise ValueError(
        f"`{name}` must be {count} integers >= 0 or finite floats, one per example, or a list of "
        "integers for each example, one per token. "
        f"Received: shape={array.shape}, dtype={array.dtype}."
    )


def _token_rows(labels, lengths) -> list[np.ndarray]:
    if len(labels) != len(lengths):
        raise ValueError(
            f"`labels` must have {len(lengths)} items, one per example. Received: {len(labels)}."
        )
    rows = []
    for index, (row, length) in enumerate(zip(labels, lengths, strict=True)):
        array = np.asarray(row)
        if array.shape != (length,) or array.dtype.kind not in "iu" or array.min() < IGNORED:
            raise ValueError(
                f"`labels` must contain an integer >= -1 for each of the {length} tokens of the "
                f"row. Received: {reprlib.repr(row)} at index {index}."
            )
        rows.append(array.astype("int32"))
    return rows
