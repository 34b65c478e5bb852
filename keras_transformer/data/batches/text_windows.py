"""Overlapping windows over a text, to evaluate a language model with context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_integer
from keras_transformer.data.batches.read_ahead import ReadAheadDataset
from keras_transformer.data.rows import one_text, padded


class SlidingWindows(ReadAheadDataset):
    """Overlapping windows over one long text, to score each token once and with context.

    Each item is `({"token_ids": (B, T)}, labels (B, T))` in int32 with B = `batch_size` and
    T = `length`, for `model.evaluate`. A window starts `stride` tokens after the previous one. In
    every window after the first, only the last `stride` labels are scored; the earlier ones were
    scored in a previous window and are 0 (padding). Without overlap, the first tokens of each
    window would have little context.

    Args:
        token_ids: Ids of the text, (number of tokens,).
        length: Tokens per window.
        stride: New tokens per window, at most `length`; half of it by default.
        batch_size: Windows per batch.
        vocabulary_size: Ids must be below it; None skips the check.
        **kwargs: Arguments of `keras.utils.PyDataset`.

    Raises:
        ValueError: If there are fewer than two tokens, or an argument or an id is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> windows = kt.data.SlidingWindows(np.arange(1, 8), length=4, stride=2, batch_size=2)
        >>> inputs, labels = windows[0]
        >>> inputs["token_ids"].tolist(), labels.tolist()
        ([[1, 2, 3, 4], [3, 4, 5, 6]], [[2, 3, 4, 5], [0, 0, 6, 7]])
    """

    def __init__(
        self,
        token_ids: Sequence[int] | np.ndarray,
        length: int,
        stride: int | None = None,
        batch_size: int = 16,
        vocabulary_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_integer(1, length=length)
        check_integer(1, batch_size=batch_size)
        stride = max(1, length // 2) if stride is None else stride
        check_integer(1, stride=stride)
        if stride > length:
            raise ValueError(
                f"`stride` must be at most `length`. Received: stride={stride}, length={length}."
            )
        ids = one_text(token_ids, vocabulary_size)
        self.length = length
        self.stride = stride
        self.batch_size = batch_size
        self._ids = ids
        # All labels of the first window are new.
        beyond = max(0, self.num_target_tokens - length)
        self._starts = np.arange(1 + -(-beyond // stride)) * stride

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self._starts) // self.batch_size)

    def _make_batch(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and labels of one batch."""
        first = index * self.batch_size
        starts = self._starts[first : first + self.batch_size]
        lengths = np.minimum(self.length, self.num_target_tokens - starts)
        shape = (self.batch_size, self.length)
        token_ids = padded(self._ids, starts, lengths, shape)
        labels = padded(self._ids, starts + 1, lengths, shape)
        scored_before = (starts > 0)[:, None] & (np.arange(self.length) < self.length - self.stride)
        labels[: len(starts)][scored_before] = 0
        return {"token_ids": token_ids}, labels

    @property
    def num_target_tokens(self) -> int:
        """Number of real labels in all windows: every token of the text but the first."""
        return len(self._ids) - 1
