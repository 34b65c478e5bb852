"""Logit filters: pure functions from logits (B, V) to logits (B, V)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any


def ban_ids(logits: Tensor, banned_ids: Sequence[int]) -> Tensor:
    """Makes some ids impossible.

    Args:
        logits: float (B, V).
        banned_ids: ids that must not be chosen.

    Returns:
        (B, V), with a very low, finite value at the banned ids.

    Example:
        >>> import keras, keras_transformer as kt
        >>> int(keras.ops.argmax(kt.decoding.ban_ids(keras.ops.ones((1, 3)), [0]))) == 0
        False
    """
    if not banned_ids:
        return logits
    banned = np.zeros(logits.shape[-1], dtype=bool)
    banned[list(banned_ids)] = True
    dtype = keras.backend.standardize_dtype(logits.dtype)
    lowest = -6e4 if dtype == "float16" else -1e30  # finite in its dtype
    return ops.where(banned, ops.cast(lowest, dtype), logits)
