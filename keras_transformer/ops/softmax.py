"""The softmax of attention, of dense and of blockwise, of recurrent decoders and of Transformers.

Shape letters: S key length.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


def softmax_over_keys(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Makes weights of scores, in float32.

    Args:
        scores: (..., S).
        mask: boolean, broadcastable to the scores, True = may attend. Where it forbids every key
            the weights are equal ones, and whatever they weigh has to be zeroed.

    Returns:
        (..., S).
    """
    scores = ops.cast(scores, "float32")
    if mask is not None:
        scores = ops.where(mask, scores, lowest("float32"))
    if scores.shape[-1] == 1:
        return ops.ones_like(scores)  # as a softmax would, which Keras warns of for one key
    return ops.softmax(scores, axis=-1)


def lowest(dtype: Any) -> Tensor:
    """A score for what is hidden: finite, so that a row without any key gives no NaN."""
    dtype = keras.backend.standardize_dtype(dtype)
    return ops.cast(-6e4 if dtype == "float16" else -1e30, dtype)
