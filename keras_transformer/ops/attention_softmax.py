"""The attention softmax, shared by dense and blockwise attention and by recurrent decoders.

Shape letters: S key length.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


def softmax_over_keys(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Computes attention weights from scores, in float32.

    Args:
        scores: (..., S).
        mask: Boolean, broadcastable to the scores, True = may attend. If it masks every key of a
            row, the weights are uniform and the caller must zero the result.

    Returns:
        (..., S).
    """
    scores = ops.cast(scores, "float32")
    if mask is not None:
        scores = ops.where(mask, scores, lowest("float32"))
    if scores.shape[-1] == 1:
        return ops.ones_like(scores)  # same as softmax, which makes Keras warn about a single key
    return ops.softmax(scores, axis=-1)


def lowest(dtype: Any) -> Tensor:
    """Returns the score of masked keys: finite, so that a fully masked row does not yield NaN."""
    dtype = keras.backend.standardize_dtype(dtype)
    return ops.cast(-6e4 if dtype == "float16" else -1e30, dtype)
