"""The arguments `relative_positions` and `rotary` of attention layers and blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras

from keras_transformer.layers.relative_positions import (
    LinearPositionBias,
    RelativePositionBias,
    RelativePositionKeys,
)
from keras_transformer.layers.rotary import RotaryEmbedding
from keras_transformer.layers.serialization import get_layer

KINDS = ("shaw", "t5", "alibi")
# The relative positions of the stack whose blocks are being created, if they share them.
_shared: ContextVar[list[keras.layers.Layer] | None] = ContextVar("_shared", default=None)


def get_relative_positions(identifier: Any) -> keras.layers.Layer | str | None:
    """Checks the argument `relative_positions` of a layer, or restores it from a config.

    Args:
        identifier: None, "shaw", "t5", "alibi", a layer, or a layer's config.

    Returns:
        None, the name, or the layer.

    Raises:
        ValueError: If it is none of these.
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
    """Creates the relative positions of one attention layer.

    Args:
        identifier: The result of `get_relative_positions`; a layer is copied.
        causal: Whether future keys are masked.
        dtype: Dtype policy of the layer if `identifier` is a name.

    Returns:
        A layer, or None. Within `relative_positions_shared`, the layer created first.
    """
    if identifier is None:
        return None
    shared = _shared.get()
    if shared:
        return shared[0]
    made = _make_relative_positions(identifier, causal, dtype)
    if shared is not None:
        shared.append(made)
    return made


@contextlib.contextmanager
def relative_positions_shared(active: bool) -> Iterator[None]:
    """Makes all attention layers created in this context share the first one's relative positions.

    Args:
        active: Whether they share; if not, each has its own, even inside another context.
    """
    token = _shared.set([] if active else None)
    try:
        yield
    finally:
        _shared.reset(token)


def _make_relative_positions(identifier, causal, dtype):
    if isinstance(identifier, keras.layers.Layer):
        is_open = getattr(identifier, "bidirectional", True) is None
        chosen = {"bidirectional": not causal} if is_open else {}
        return _copy(identifier, "relative_positions", **chosen)
    common = {"dtype": dtype, "name": "relative_positions"}
    if identifier == "t5":
        return RelativePositionBias(bidirectional=not causal, **common)
    return {"shaw": RelativePositionKeys, "alibi": LinearPositionBias}[identifier](**common)


def get_rotary(identifier: Any) -> RotaryEmbedding | bool:
    """Checks the argument `rotary` of a layer, or restores it from a config.

    Args:
        identifier: A Boolean, a `RotaryEmbedding`, its config, or a dict of its arguments.

    Returns:
        False, True or the layer.

    Raises:
        ValueError: If it is none of these, or the dict holds an invalid argument.
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
    """Creates the rotary embedding of one attention layer.

    Args:
        identifier: The result of `get_rotary`; a layer is copied.
        dtype: Dtype policy of the layer if `identifier` is True.

    Returns:
        A layer, or None.
    """
    if isinstance(identifier, RotaryEmbedding):
        return _copy(identifier, "rotary")
    return RotaryEmbedding(dtype=dtype, name="rotary") if identifier else None


def _copy(layer, name, **changes):
    return type(layer).from_config({**layer.get_config(), "name": name, **changes})
