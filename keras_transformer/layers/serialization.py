"""Saving and restoring the constructor arguments of layers."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np

from keras_transformer.layers.shared_layers import serialize_layer


def get_layer(identifier: Any) -> keras.layers.Layer | None:
    """Returns a layer that was passed to another layer's constructor, restored from its config."""
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    return identifier


def constructor_config(layer: keras.layers.Layer, layer_class: type) -> dict[str, Any]:
    """Reads the constructor arguments of a layer from the attributes of the same names.

    Args:
        layer: The layer.
        layer_class: Its class, or a base class.

    Returns:
        The serialized arguments by name.
    """
    return {name: serialize(getattr(layer, name)) for name in argument_names(layer_class)}


def argument_names(layer_class: type) -> list[str]:
    """Lists the names of the constructor arguments of a class, without `self` and `**kwargs`.

    Includes those of its bases if it accepts `**kwargs`, but not those of the base class `Layer`.
    """
    names: dict[str, None] = {}
    for cls in layer_class.__mro__:
        # Inspects __init__, because Keras gives classes a __new__ that accepts anything.
        init = vars(cls).get("__init__")
        if init is None:
            continue
        if cls is not layer_class and cls.__name__ == "Layer":
            break
        parameters = list(inspect.signature(init).parameters.values())[1:]
        passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters)
        names |= {p.name: None for p in parameters if p.kind is not p.VAR_KEYWORD}
        if not passes_on:
            break
    return list(names)


def serialize(value: Any) -> Any:
    """Serializes a constructor argument for a config."""
    if isinstance(value, keras.layers.Layer):
        return serialize_layer(value)
    if isinstance(value, (list, tuple)) and any(isinstance(v, keras.layers.Layer) for v in value):
        return [serialize(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, keras.initializers.Initializer):
        return keras.saving.serialize_keras_object(value)
    if callable(value):
        return keras.activations.serialize(value)
    return value


def clone_initializer(initializer: Any) -> Any:
    """Copies an initializer: a random one gives the same values each time it is used."""
    return (
        initializer.clone()
        if isinstance(initializer, keras.initializers.Initializer)
        else initializer
    )
