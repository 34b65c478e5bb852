"""Relative positions by their names, as the arguments of attentions, blocks and stacks."""

from __future__ import annotations

from typing import Any

import keras

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
        return identifier.__class__.from_config(
            {**identifier.get_config(), "name": "relative_positions"}
        )
    common = {"dtype": dtype, "name": "relative_positions"}
    if identifier == "t5":
        return RelativePositionBias(bidirectional=not causal, **common)
    return {"shaw": RelativePositionKeys, "alibi": LinearPositionBias}[identifier](**common)
