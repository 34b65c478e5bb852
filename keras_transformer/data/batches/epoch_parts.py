"""The part of an epoch that Keras treats as the whole dataset, and its length."""

from __future__ import annotations

from typing import Any, NamedTuple


class Part(NamedTuple):
    """The batches of an epoch that Keras treats as the whole dataset.

    Attributes:
        first: Index of the first batch.
        end: Index of the last batch plus 1.
        is_cut: Whether it may end before `fit` has run all steps of its epoch.
    """

    first: int
    end: int
    is_cut: bool = False


class EpochLength(int):
    """The number of batches per epoch, which is smaller during a resumed epoch.

    Keras reads one number for all epochs of a `fit`, and ends each when `steps_seen >= number`.
    For a subclass of int, Python evaluates `number <= steps_seen` instead, so the answer can
    depend on the current epoch. Otherwise Keras would request one batch too many, warn that it is
    missing, and on TensorFlow count an extra optimizer step. The comparison also tells the
    dataset when a Keras epoch ends in the middle of a pass.
    """

    _dataset: Any

    def __le__(self, steps_seen: int) -> bool:
        return self._dataset._is_over(steps_seen)
