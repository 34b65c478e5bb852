"""Samplers: how the next token is chosen from its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

Tensor = Any


def greedy(logits: Tensor, seed: Any = None) -> Tensor:
    """Chooses the likeliest token, the first of equals.

    Args:
        logits: float (B, V).
        seed: not used; samplers that draw at random take it.

    Returns:
        int32 ids (B,).

    Example:
        >>> import keras, keras_transformer as kt
        >>> int(kt.decoding.greedy(keras.ops.convert_to_tensor([[0.1, 0.7, 0.2]]))[0])
        1
    """
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


_SAMPLERS = {"greedy": greedy}


def get_sampler(sampler: str | Callable) -> Callable:
    """Finds a sampler by name; a callable `(logits, seed) -> ids` is returned as it is.

    Args:
        sampler: a name, or a callable.

    Returns:
        The callable.

    Raises:
        ValueError: an unknown name; the error lists the known ones.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.get_sampler("greedy") is kt.decoding.greedy
        True
    """
    if callable(sampler):
        return sampler
    if sampler not in _SAMPLERS:
        raise ValueError(
            f"`sampler` must be one of {sorted(_SAMPLERS)} or a callable. "
            f"Received: sampler={sampler!r}."
        )
    return _SAMPLERS[sampler]
