"""Argument checks shared by the layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_transformer.checks import check_positive, given


def check_window(window: Any) -> None:
    """Raises a ValueError unless `window` is None or a positive integer."""
    check_positive(**given(window=window))


def check_hidden(name: str, tensor: Any) -> None:
    """Raises a ValueError unless a tensor is (batch, length, hidden size)."""
    check_hidden_shape(name, tuple(tensor.shape))


def check_hidden_shape(name: str, shape: tuple) -> None:
    """Raises a ValueError unless a shape is (batch, length, hidden size)."""
    if len(shape) != 3:
        raise ValueError(
            f"`{name}` must have shape (batch, length, hidden_dim). Received: shape={tuple(shape)}."
        )


def check_heads_shape(name: str, shape: tuple) -> None:
    """Raises a ValueError unless a shape is (batch, length, heads, head size)."""
    if len(shape) != 4:
        raise ValueError(
            f"`{name}` must have shape (batch, length, num_heads, head_dim). "
            f"Received: shape={tuple(shape)}."
        )


def check_rows(name: str, rows: Any, num_rows: int) -> None:
    """Raises a ValueError if an index to look up is outside the table.

    Checks only on JAX, which returns NaN for such an index; TensorFlow and torch raise their own
    errors. Inside compiled functions the values are unknown and nothing is checked.
    """
    if keras.backend.backend() != "jax":
        return
    try:
        values = np.asarray(rows)
    except Exception:  # JAX's tracers and Keras's symbolic tensors have no values
        return
    if values.size and (values.min() < 0 or values.max() >= num_rows):
        raise ValueError(
            f"`{name}` must be in the range [0, {num_rows}). "
            f"Received: {name} from {values.min()} to {values.max()}."
        )


def known_length(tensor: Any) -> int | None:
    """Returns the length of a (batch, length, ...) tensor, or None if it is unknown.

    An unknown dimension is None on TensorFlow and a symbol on JAX; torch traces shapes on its
    "meta" device, with an arbitrary number in its place.
    """
    if getattr(getattr(tensor, "device", None), "type", None) == "meta":
        return None
    length = tensor.shape[1]
    return length if isinstance(length, int) else None
