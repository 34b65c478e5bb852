"""Sequences packed into rows of a fixed length, for language models on every backend."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_integer
from keras_transformer.data.batches.epoch_batches import EpochBatches
from keras_transformer.data.batches.epoch_plans import fingerprint, split_steps
from keras_transformer.data.rows import flatten


class PackedBatches(EpochBatches):
    """Batches of rows that each pack several sequences, with little padding.

    Each item is `({"token_ids": (B, T), "segment_ids": (B, T)}, labels (B, T))` in int32 with
    B = `batch_size` and T = `length`, for `kt.models.packed`, which keeps attention within each
    sequence. A sequence of n ids takes n - 1 positions: all tokens but the last as inputs, and
    the tokens shifted by one as labels, so that no label crosses a sequence boundary. The
    segments of a row are numbered from 1; padding, at the ends of rows and in whole rows of the
    last batch, is 0 in all three arrays.

    Rows are filled one by one with the longest sequences that still fit (first-fit decreasing).
    With `shuffle`, sequences of equal length are swapped and the rows are reordered every epoch;
    the lengths in each row stay the same, and so does the number of batches.

    With `num_shards`, workers that train together share one plan: all get the same number of
    batches, and every sequence goes to exactly one worker. The rows of the last step are split
    evenly, and its batches filled with padding rows.

    Args:
        sequences: N lists of at least two ids, including start and end ids if the model is to
            learn them.
        length: Positions per row, at most the model's number of positions.
        batch_size: Rows per batch and shard.
        long_sequences: What to do with sequences of more than `length` + 1 ids: "refuse" raises an
            error, "cut" splits them. No label is lost at a cut: the next piece starts with the
            token that is the last label of the piece before.
        shuffle: Whether sequences and rows are reordered every epoch.
        seed: Non-negative integer. The order depends only on it and the epoch.
        vocabulary_size: Ids must be below it; None skips the check.
        num_shards: Number of workers that train together, each with its own dataset.
        shard_index: Index of this worker, from 0.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`, the number of threads
            that prepare batches ahead if `fit` is called with `shuffle=False`.

    Raises:
        ValueError: If there are no sequences, one has fewer than two ids or, with "refuse", more
            than `length` + 1, or an argument or an id is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> batches = kt.data.PackedBatches(
        ...     [[4, 5, 6], [7, 8], [9, 4, 5, 6]], length=5, batch_size=2, shuffle=False)
        >>> inputs, labels = batches[0]
        >>> inputs["token_ids"].tolist(), labels.tolist()
        ([[9, 4, 5, 4, 5], [7, 0, 0, 0, 0]], [[4, 5, 6, 5, 6], [8, 0, 0, 0, 0]])
        >>> inputs["segment_ids"].tolist()
        [[1, 1, 1, 2, 2], [1, 0, 0, 0, 0]]

    Reference:
        Krell et al. 2021, "Efficient Sequence Packing without Cross-contamination", sections 3.1
        and 3.2.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[int]],
        length: int,
        batch_size: int,
        long_sequences: str = "refuse",
        shuffle: bool = True,
        seed: int = 0,
        vocabulary_size: int | None = None,
        num_shards: int = 1,
        shard_index: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, num_shards, shard_index, **kwargs)
        check_integer(1, length=length)
        check_integer(1, batch_size=batch_size)
        self._ids, lengths = flatten("sequences", sequences, vocabulary_size)
        _check_lengths(lengths, length, long_sequences)
        self.length = length
        self.batch_size = batch_size
        self._starts, self._lengths = _pieces(lengths, length)
        self._make_slots()
        self._settings = {"length": length, "batch_size": batch_size}
        self._settings["long_sequences"] = long_sequences
        self._corpus = fingerprint(self._ids, lengths)
        self.epoch = 0

    def _make_slots(self) -> None:
        """Lays out the rows as slots of given lengths, the same in every epoch."""
        # One slot per sequence, row by row: its length, segment number and offset in its row.
        self._slot_lengths, self._row_ends = _pack(self._lengths, self.length)
        row_starts = np.append(0, self._row_ends[:-1])
        slots_of_row = self._row_ends - row_starts
        self._segments = (
            1 + np.arange(len(self._slot_lengths)) - np.repeat(row_starts, slots_of_row)
        )
        before = np.append(0, np.cumsum(self._slot_lengths))
        self._offsets = before[:-1] - np.repeat(before[row_starts], slots_of_row)

    def _plan(self, generator: np.random.Generator | None) -> list[list[np.ndarray]]:
        """Assigns the sequences to slots, and returns the steps; a batch is its row indices."""
        sequences, rows = np.arange(len(self._lengths)), np.arange(len(self._row_ends))
        if generator is not None:
            sequences, rows = generator.permutation(sequences), generator.permutation(rows)
        # The slots of each length take the sequences of that length, in order.
        by_length = sequences[np.argsort(self._lengths[sequences], kind="stable")]
        self._sequence_of_slot = np.empty_like(sequences)
        self._sequence_of_slot[np.argsort(self._slot_lengths, kind="stable")] = by_length
        return split_steps(rows, self.batch_size, self.num_shards)

    def _make_batch(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and labels of one batch.

        Args:
            index: Index of the batch.

        Returns:
            `({"token_ids": (B, T), "segment_ids": (B, T)}, labels (B, T))` in int32.
        """
        rows = self._batches[index]
        ends = self._row_ends[rows]
        starts = np.where(rows > 0, self._row_ends[rows - 1], 0)
        slots = _ranges(starts, ends - starts)
        sequences, lengths = self._sequence_of_slot[slots], self._slot_lengths[slots]
        firsts = np.repeat(np.arange(len(rows)) * self.length, ends - starts) + self._offsets[slots]
        targets, sources = _ranges(firsts, lengths), _ranges(self._starts[sequences], lengths)
        token_ids, segment_ids, labels = np.zeros((3, self.batch_size * self.length), dtype="int32")
        token_ids[targets] = self._ids[sources]
        segment_ids[targets] = np.repeat(self._segments[slots], lengths)
        labels[targets] = self._ids[sources + 1]
        shape = (self.batch_size, self.length)
        inputs = {"token_ids": token_ids.reshape(shape), "segment_ids": segment_ids.reshape(shape)}
        return inputs, labels.reshape(shape)

    @property
    def num_target_tokens(self) -> int:
        """Number of labels per epoch over all shards, without padding."""
        return int(self._lengths.sum())

    @property
    def padding_fraction(self) -> float:
        """Fraction of an epoch's positions, over all shards, that are padding."""
        num_rows = self._num_batches * self.num_shards * self.batch_size
        return 1.0 - self.num_target_tokens / (num_rows * self.length)


def _check_lengths(lengths: np.ndarray, length: int, long_sequences: str) -> None:
    if long_sequences not in ("refuse", "cut"):
        raise ValueError(
            '`long_sequences` must be "refuse" or "cut". '
            f"Received: long_sequences={long_sequences!r}."
        )
    if lengths.min() < 2:
        raise ValueError(
            "`sequences` must contain at least two ids each, a token and its label. "
            f"Received: one id at index {int(lengths.argmin())}."
        )
    if long_sequences == "refuse" and lengths.max() > length + 1:
        raise ValueError(
            f"`sequences` must have at most `length` + 1 = {length + 1} ids each, unless "
            f'long_sequences="cut". Received: {lengths.max()} ids at index '
            f"{int(lengths.argmax())}."
        )


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenates the ranges [start, start + length) of all starts and lengths."""
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)


def _pieces(lengths: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts sequences into pieces; returns each piece's start in the flat ids and its labels."""
    num_labels = lengths - 1
    counts = -(-num_labels // longest)
    cuts = _ranges(np.zeros_like(counts), counts) * longest
    starts = np.repeat(np.cumsum(lengths) - lengths, counts) + cuts
    return starts, np.minimum(longest, np.repeat(num_labels, counts) - cuts)


def _pack(lengths: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Packs lengths into rows, first-fit decreasing.

    Filling one row after another gives the same rows as placing one length after another. Rows
    with the same contents are made at once, so the time depends on the number of distinct
    lengths, not of sequences.

    Args:
        lengths: (N,), none above `row_length`.
        row_length: Maximum sum of the lengths in a row.

    Returns:
        The lengths row by row, (N,), and the index after the last length of each row.
    """
    counts = np.bincount(lengths).tolist()
    left = [length for length, count in enumerate(counts) if count]
    slots, rows = [], []
    while left:
        row = _fill_row(left, counts, row_length)
        repeats = min(counts[length] // number for length, number in row)
        for length, number in row:
            counts[length] -= repeats * number
            if counts[length] == 0:
                left.pop(bisect.bisect_left(left, length))
        slots.append(np.tile(np.repeat(*np.array(row).T), repeats))
        rows.append(np.full(repeats, sum(number for _, number in row)))
    return np.concatenate(slots), np.cumsum(np.concatenate(rows))


def _fill_row(left: list[int], counts: list[int], space: int) -> list[tuple[int, int]]:
    """Returns the (length, count) pairs of a row, always taking the longest length that fits."""
    row = []
    place = len(left)
    while (place := bisect.bisect_right(left, space, 0, place) - 1) >= 0:
        length = left[place]
        number = min(counts[length], space // length)
        row.append((length, number))
        space -= number * length
    return row
