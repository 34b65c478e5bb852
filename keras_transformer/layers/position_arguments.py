"""The arguments `relative_positions` and `rotary` of attentions and blocks."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.layers.positional import RotaryEmbedding
from keras_transformer.layers.relative_positions import (
    LinearPositionBias,
    RelativePositionBias,
    RelativePositionKeys,
)
from keras_transformer.layers.serialization import get_layer

KINDS = ("shaw", "t5", "alibi")


def get_relative_positions(identifier: Any) -> keras.layers.Layer | str | None:
    """Restores or checks what a layer's `relative_positions` is.

    Args:
        identifier: None, "shaw", "t5", "alibi", or one of these layers, or its config.

    Returns:
        None, the name, or the layer.

    Raises:
        ValueError: it is none of these.
    """
    identifier = get_layer(identifier)
    is_known = isinstance(identifier, str) and identifier in KINDS
    if identifier is None or is_known or isinstance(identifier, keras.layers.Layer):
        return identifier
    raise ValueError(
        f"`relative_positions` must be None, one of {KINDS}, or a layer such as "
        f"RelativePositionBias. Received: relative_positions={identifier!r}."
    )


def make_relative_positions(
    identifier: keras.layers.Layer | str | None, causal: bool, dtype: Any
) -> keras.layers.Layer | None:
    """Makes the layer of one attention: each has its own.

    Args:
        identifier: as `get_relative_positions` returns it; of a layer a new one is made.
        causal: whether keys ahead are never seen.
        dtype: dtype policy of a layer that is named.

    Returns:
        A layer, or None.
    """
    if identifier is None:
        return None
    if isinstance(identifier, keras.layers.Layer):
        return _copy(identifier, "relative_positions")
    common = {"dtype": dtype, "name": "relative_positions"}
    if identifier == "t5":
        return RelativePositionBias(bidirectional=not causal, **common)
    return {"shaw": RelativePositionKeys, "alibi": LinearPositionBias}[identifier](**common)


def get_rotary(identifier: Any) -> RotaryEmbedding | bool:
    """Restores or checks the argument `rotary` of a layer.

    Args:
        identifier: a flag, a `RotaryEmbedding`, its config, or a dict of its arguments.

    Returns:
        False, True or the layer.

    Raises:
        ValueError: it is none of these, or an argument that `RotaryEmbedding` does not take.
    """
    if isinstance(identifier, dict):
        is_config = "class_name" in identifier
        identifier = get_layer(identifier) if is_config else RotaryEmbedding(**identifier)
    if isinstance(identifier, (bool, RotaryEmbedding)):
        return identifier
    raise ValueError(
        "`rotary` must be True, False, a RotaryEmbedding or a dict of its arguments. "
        f"Received: rotary={identifier!r}."
    )


def make_rotary(identifier: RotaryEmbedding | bool, dtype: Any) -> RotaryEmbedding | None:
    """Makes the rotary embedding of one attention.

    Args:
        identifier: as `get_rotary` returns it; a layer is copied.
        dtype: dtype policy of the layer for True.

    Returns:
        A layer, or None.
    """
    if isinstance(identifier, RotaryEmbedding):
        return _copy(identifier, "rotary")
    return RotaryEmbedding(dtype=dtype, name="rotary") if identifier else None


def _copy(layer, name):
    return type(layer).from_config({**layer.get_config(), "name": name})
