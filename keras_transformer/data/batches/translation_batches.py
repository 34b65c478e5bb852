"""Batches of sentence pairs as a `keras.utils.PyDataset`, for translation on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_integer
from keras_transformer.data.batches.buckets import Bucket, make_buckets, most_different
from keras_transformer.data.batches.epoch_batches import EpochBatches
from keras_transformer.data.batches.epoch_plans import fingerprint, split_steps
from keras_transformer.data.rows import flatten, padded, surround


class TranslationBatches(EpochBatches):
    """Batches of sentence pairs, with few shapes and little padding.

    Each item is `({"source_ids": (B, S), "target_ids": (B, T)}, labels)` in int32: the source
    followed by `end_id`, the target preceded by `start_id`, and labels (B, T), the target followed
    by `end_id`, all padded with `padding_id`. Pairs of similar length share one of at most
    `max_shapes` static shapes, because XLA compiles a program for each. A batch has close to
    `tokens_per_batch` tokens on its longer side. The last batch of each shape is filled with
    padding rows, so every pair appears exactly once per epoch.

    With `num_shards`, workers that train together share one plan: all get the same number of
    batches, of the same shape in every step, and every pair goes to exactly one worker. The last
    step of each shape is split evenly and filled with padding rows; if it has fewer pairs than
    there are shards, some get only padding.

    `model.fit` shuffles the batches again, with Python's `random`. For reproducible runs, pass
    `shuffle=False` to `fit` or call `keras.utils.set_random_seed`.

    Args:
        source_ids: P lists of ids, without start and end ids.
        target_ids: P lists of ids, without start and end ids.
        tokens_per_batch: Maximum number of tokens per batch and shard on either side, padding
            included.
        max_length: Maximum row length in tokens, including the added start or end. Pairs with a
            longer row are skipped and counted in `num_skipped`. None keeps all pairs.
        max_shapes: Maximum number of distinct shapes.
        shuffle: Whether pairs and batches are reordered every epoch.
        seed: Non-negative integer. The order depends only on it and the epoch.
        source_vocabulary_size: Source ids must be below it; None skips the check.
        target_vocabulary_size: Target ids must be below it; None skips the check.
        start_id: Id added before each target.
        end_id: Id added after each source and each target.
        padding_id: Padding id. It may equal `start_id`, as in Marian's models. Pass it to the
            loss too: `kt.training.transformer_recipe(..., padding_id=...)`.
        num_shards: Number of workers that train together, each with its own dataset.
        shard_index: Index of this worker, from 0.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`, the number of threads
            that prepare batches ahead if `fit` is called with `shuffle=False`.

    Raises:
        ValueError: If the lists are empty or differ in length, if a row is empty or contains
            padding or an id outside its vocabulary, if no pair fits in `max_length`, or if
            `tokens_per_batch` is smaller than the longest row.

    Example:
        >>> import keras_transformer as kt
        >>> batches = kt.data.TranslationBatches(
        ...     [[4, 5], [6]], [[7], [8, 9, 4]], tokens_per_batch=8, shuffle=False)
        >>> inputs, labels = batches[0]
        >>> inputs["target_ids"].tolist(), labels.tolist()  # start 2, end 3
        ([[2, 7, 0, 0], [2, 8, 9, 4]], [[7, 3, 0, 0], [8, 9, 4, 3]])

    See Also:
        `kt.models.transformer`, which trains on them; `kt.data.MixedBatches` mixes several;
        `kt.data.filter_pairs` cleans the pairs.
    """

    def __init__(
        self,
        source_ids: Sequence[Sequence[int]],
        target_ids: Sequence[Sequence[int]],
        tokens_per_batch: int = 4096,
        max_length: int | None = None,
        max_shapes: int = 16,
        shuffle: bool = True,
        seed: int = 0,
        source_vocabulary_size: int | None = None,
        target_vocabulary_size: int | None = None,
        start_id: int = 2,
        end_id: int = 3,
        padding_id: int = 0,
        num_shards: int = 1,
        shard_index: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, num_shards, shard_index, **kwargs)
        integers = {"tokens_per_batch": (tokens_per_batch, 1), "max_shapes": (max_shapes, 1)}
        integers |= {
            "start_id": (start_id, 0),
            "end_id": (end_id, 0),
            "padding_id": (padding_id, 0),
        }
        for name, (value, minimum) in integers.items():
            check_integer(minimum, **{name: value})
        if end_id == padding_id:
            raise ValueError(
                "`end_id` must differ from `padding_id`, or the model never learns to stop. "
                f"Received: end_id={end_id}, padding_id={padding_id}."
            )
        self.padding_id = padding_id
        if len(source_ids) != len(target_ids):
            raise ValueError(
                "`source_ids` and `target_ids` must have the same length. "
                f"Received: {len(source_ids)} and {len(target_ids)} rows."
            )
        source = flatten("source_ids", source_ids, source_vocabulary_size, padding_id)
        target = flatten("target_ids", target_ids, target_vocabulary_size, padding_id)
        self._lay_out(source, target, start_id, end_id)
        kept = self._kept_rows(max_length, tokens_per_batch)
        self._buckets = make_buckets(
            self._source_lengths[kept],
            self._target_lengths[kept],
            tokens_per_batch,
            max_shapes,
            num_shards,
        )
        self._buckets = [bucket._replace(rows=kept[bucket.rows]) for bucket in self._buckets]
        self.num_skipped = len(source_ids) - len(kept)
        self._corpus = fingerprint(*source, *target)
        self._settings = {name: value for name, (value, _) in integers.items()}
        self._settings["max_length"] = max_length
        self.epoch = 0

    def _lay_out(self, source, target, start_id, end_id):
        """Joins the rows of either side to one array, with their start and end tokens."""
        (source, source_lengths), (target, target_lengths) = source, target
        self._source = surround(source, source_lengths, (), (end_id,))
        # One array serves as inputs and, shifted by one token, as labels.
        self._target = surround(target, target_lengths, (start_id,), (end_id,))
        self._source_lengths = source_lengths + 1
        self._target_lengths = target_lengths + 1
        self._source_starts = np.cumsum(self._source_lengths) - self._source_lengths
        self._target_starts = np.cumsum(self._target_lengths + 1) - (self._target_lengths + 1)

    def _kept_rows(self, max_length: int | None, tokens_per_batch: int) -> np.ndarray:
        """Returns the indices of the pairs that are not too long."""
        longest = np.maximum(self._source_lengths, self._target_lengths)
        kept = np.arange(len(longest))
        if max_length is not None:
            check_integer(2, max_length=max_length)
            kept = np.flatnonzero(longest <= max_length)
        if len(kept) == 0:
            raise ValueError(
                f"`max_length` must be at least {longest.min()} to keep any pair. "
                f"Received: max_length={max_length}."
            )
        if longest[kept].max() > tokens_per_batch:
            raise ValueError(
                f"`tokens_per_batch` must be at least {longest[kept].max()}, the longest row, "
                f"start or end included. Received: tokens_per_batch={tokens_per_batch}."
            )
        return kept

    def _plan(self, generator: np.random.Generator | None) -> list[list[tuple[Bucket, np.ndarray]]]:
        """Returns the steps, each of one shape; a batch is its bucket and rows."""
        steps: list[list[tuple[Bucket, np.ndarray]]] = []
        firsts = []
        for bucket in self._buckets:
            rows = bucket.rows if generator is None else generator.permutation(bucket.rows)
            firsts.append(len(steps))
            for step in split_steps(rows, bucket.batch_size, self.num_shards):
                steps.append([(bucket, batch) for batch in step])
        order = range(len(steps)) if generator is None else generator.permutation(len(steps))
        # On TensorFlow, Keras infers the fixed axes from the first two batches and fails on later
        # batches of another size, so these two must differ in every axis that varies.
        first_two = [firsts[index] for index in most_different(self._buckets)]
        others = [index for index in order if index not in first_two]
        return [steps[index] for index in first_two + others]

    def _make_batch(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and labels of one batch.

        Args:
            index: Index of the batch.

        Returns:
            `({"source_ids": (B, S), "target_ids": (B, T)}, labels (B, T))` in int32.
        """
        bucket, rows = self._batches[index]
        source_shape = (bucket.batch_size, bucket.source_width)
        target_shape = (bucket.batch_size, bucket.target_width)
        starts, lengths = self._target_starts[rows], self._target_lengths[rows]
        source_ids = padded(
            self._source,
            self._source_starts[rows],
            self._source_lengths[rows],
            source_shape,
            self.padding_id,
        )
        target_ids = padded(self._target, starts, lengths, target_shape, self.padding_id)
        labels = padded(self._target, starts + 1, lengths, target_shape, self.padding_id)
        return {"source_ids": source_ids, "target_ids": target_ids}, labels

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """The distinct shapes (B, S, T), narrowest first."""
        return [bucket[:3] for bucket in self._buckets]

    @property
    def num_target_tokens(self) -> int:
        """Number of labels per epoch over all shards, without padding."""
        return sum(int(self._target_lengths[bucket.rows].sum()) for bucket in self._buckets)

    @property
    def padding_fraction(self) -> float:
        """Fraction of an epoch's source and target positions, over all shards, that are padding."""
        real = self.num_target_tokens
        positions = 0
        for batch_size, source_width, target_width, rows in self._buckets:
            real += int(self._source_lengths[rows].sum())
            step_size = batch_size * self.num_shards
            num_steps = -(-len(rows) // step_size)
            positions += num_steps * step_size * (source_width + target_width)
        return 1.0 - real / positions
