"""Blocks of one long text as a `keras.utils.PyDataset`, for language models on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_integer
from keras_transformer.data.batches.epoch_batches import EpochBatches
from keras_transformer.data.batches.epoch_plans import fingerprint, split_steps
from keras_transformer.data.rows import one_text, padded


class LanguageModelBatches(EpochBatches):
    """Batches of blocks cut from one long text, for causal language modeling.

    Each item is `({"token_ids": (B, T)}, labels (B, T))` in int32 with B = `batch_size` and
    T = `length`; the labels are the tokens shifted by one. Every token but the first of the text
    is a label exactly once per epoch. With `shuffle`, the blocks start at a new offset every
    epoch, which leaves shorter blocks at both ends, and are reordered. Short blocks and the last
    batch are padded with 0.

    With `num_shards`, workers that train together share one plan: all get the same number of
    batches, and every label goes to exactly one worker. The blocks of the last step are split
    evenly, and its batches filled with padding rows.

    Args:
        token_ids: Ids of the text, (number of tokens,).
        length: Tokens per block.
        batch_size: Blocks per batch and shard.
        shuffle: Whether blocks start at a new offset and are reordered every epoch.
        seed: Non-negative integer. The order depends only on it and the epoch.
        vocabulary_size: Ids must be below it; None skips the check.
        num_shards: Number of workers that train together, each with its own dataset.
        shard_index: Index of this worker, from 0.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`, the number of threads
            that prepare batches ahead if `fit` is called with `shuffle=False`.

    Raises:
        ValueError: If there are fewer than two tokens, or an argument or an id is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> batches = kt.data.LanguageModelBatches(
        ...     np.arange(1, 12), length=4, batch_size=2, shuffle=False)
        >>> inputs, labels = batches[0]
        >>> inputs["token_ids"][0].tolist(), labels[0].tolist()
        ([1, 2, 3, 4], [2, 3, 4, 5])

    See Also:
        `kt.data.PackedBatches` keeps sequences apart; `kt.data.SlidingWindows` evaluates;
        `kt.models.gpt` trains on them.
    """

    def __init__(
        self,
        token_ids: Sequence[int] | np.ndarray,
        length: int,
        batch_size: int,
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
        self._ids = one_text(token_ids, vocabulary_size)
        self.length = length
        self.batch_size = batch_size
        self._settings = {"length": length, "batch_size": batch_size}
        self._corpus = fingerprint(self._ids)
        self.epoch = 0

    def _plan(self, generator: np.random.Generator | None) -> list[list[np.ndarray]]:
        """Returns the steps; a batch is the (start, length) of its blocks, (num_blocks, 2)."""
        blocks = cut_blocks(self.num_target_tokens, self.length, generator)
        return split_steps(blocks, self.batch_size, self.num_shards)

    def _make_batch(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and labels of one batch.

        Args:
            index: Index of the batch.

        Returns:
            `({"token_ids": (B, T)}, labels (B, T))` in int32.
        """
        starts, lengths = self._batches[index].T
        shape = (self.batch_size, self.length)
        token_ids = padded(self._ids, starts, lengths, shape)
        return {"token_ids": token_ids}, padded(self._ids, starts + 1, lengths, shape)

    @property
    def num_target_tokens(self) -> int:
        """Number of labels per epoch over all shards, without padding."""
        return len(self._ids) - 1

    @property
    def padding_fraction(self) -> float:
        """Fraction of an epoch's positions, over all shards, that are padding."""
        num_rows = self._num_batches * self.num_shards * self.batch_size
        return 1.0 - self.num_target_tokens / (num_rows * self.length)


def cut_blocks(total: int, length: int, generator: np.random.Generator | None) -> np.ndarray:
    """Cuts a text into blocks, whose number does not depend on the random offset.

    Args:
        total: Number of tokens.
        length: Maximum tokens per block.
        generator: Draws the offset and the order of the blocks; None for offset 0, in order.

    Returns:
        The (start, length) of each block, (number of blocks, 2).
    """
    offset = 0 if generator is None else generator.integers(length)
    bounds = np.unique([0, *range(offset, total, length), total])
    num_blocks = -(-total // length) + (generator is not None and 1 < min(length, total))
    if len(bounds) <= num_blocks:
        # Most offsets give one block more than the rest. Keras counts the batches only once, so
        # where that block is missing, the longest one is split in two.
        longest = np.diff(bounds).argmax()
        bounds = np.sort(np.append(bounds, bounds[longest : longest + 2].sum() // 2))
    blocks = np.stack([bounds[:-1], np.diff(bounds)], axis=1)
    return blocks if generator is None else generator.permutation(blocks)
