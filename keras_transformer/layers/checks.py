"""Argument checks shared by the layers."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np


def check_positive(**arguments: int) -> None:
    """Raises a ValueError that names the first argument that is not a positive integer."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive integer. Received: {name}={value!r}.")


def check_integer(**arguments: int) -> None:
    """Raises a ValueError that names the first argument that is not a non-negative integer."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(
                f"`{name}` must be a non-negative integer. Received: {name}={value!r}."
            )


def check_rate(**arguments: float) -> None:
    """Raises a ValueError that names the first argument that is not a number in [0, 1)."""
    for name, value in arguments.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0.0 <= value < 1.0:
            raise ValueError(f"`{name}` must be in the range [0, 1). Received: {name}={value!r}.")


def check_above(bound: float, **arguments: float) -> None:
    """Raises a ValueError for the first argument that is not a finite number above the bound."""
    for name, value in arguments.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not bound < value < math.inf:
            raise ValueError(
                f"`{name}` must be a finite number above {bound}. Received: {name}={value!r}."
            )


def check_flag(**arguments: bool) -> None:
    """Raises a ValueError that names the first argument that is not a Boolean."""
    for name, value in arguments.items():
        if not isinstance(value, bool):
            raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}.")


def check_window(window: Any) -> None:
    """Raises a ValueError unless `window` is None or a positive integer."""
    if window is not None:
        check_positive(window=window)


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

    Only checks on JAX, which returns NaN for such an index; TensorFlow and torch raise errors of
    their own. Inside compiled functions the values are unknown and nothing is checked.
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
