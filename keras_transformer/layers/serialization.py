"""What the layers share to save and restore their constructor arguments."""

from __future__ import annotations

import inspect
from typing import Any

import keras
from keras import ops

from keras_transformer.layers.sharing import serialize_layer


@keras.saving.register_keras_serializable(package="keras_transformer")
def gelu_approximate(x: Any) -> Any:
    r"""The tanh approximation of GELU that GPT-1 and GPT-2 use ("gelu" is the exact one).

    $\frac{x}{2} \left(1 + \tanh\left(\sqrt{2 / \pi}\,(x + 0.044715\, x^3)\right)\right)$

    Args:
        x: a float tensor of any shape.

    Returns:
        A tensor of the same shape.

    Example:
        >>> import keras, keras_transformer as kt
        >>> round(float(kt.layers.gelu_approximate(keras.ops.convert_to_tensor(1.0))), 4)
        0.8412

    Reference:
        Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
    """
    return ops.gelu(x, approximate=True)


def get_activation(identifier: Any) -> Any:
    """As `keras.activations.get`, and knows "gelu_approximate"."""
    if identifier == "gelu_approximate":
        return gelu_approximate
    return keras.activations.get(identifier)


def get_layer(identifier: Any) -> keras.layers.Layer | None:
    """Restores a layer that was given to another layer's constructor."""
    if isinstance(identifier, dict):
        return keras.saving.deserialize_keras_object(identifier)
    return identifier


def constructor_config(layer: keras.layers.Layer, layer_class: type) -> dict[str, Any]:
    """Reads the constructor arguments of a layer's class from the attributes of the same names.

    Args:
        layer: the layer.
        layer_class: its class, or the one that it is derived from.

    Returns:
        The arguments, in the form of a config.
    """
    return {name: serialize(getattr(layer, name)) for name in argument_names(layer_class)}


def argument_names(layer_class: type) -> list[str]:
    """The names of the constructor arguments of a class, without `self` and `**kwargs`.

    Those of its parents count too where it passes keywords on to them; those of the base class of
    all layers do not.
    """
    names: dict[str, None] = {}
    for cls in layer_class.__mro__:
        # Of __init__, not of the class: Keras gives classes a __new__ that takes anything.
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
    """Puts an argument of a constructor into the form of a config."""
    if isinstance(value, keras.layers.Layer):
        return serialize_layer(value)
    if isinstance(value, (list, tuple)) and any(isinstance(v, keras.layers.Layer) for v in value):
        return [serialize(one) for one in value]
    if isinstance(value, keras.initializers.Initializer):
        return keras.saving.serialize_keras_object(value)
    if callable(value):
        return keras.activations.serialize(value)
    return value


def clone_initializer(initializer: Any) -> Any:
    """A fresh copy for each weight: a random initializer gives the same values when used twice."""
    return (
        initializer.clone()
        if isinstance(initializer, keras.initializers.Initializer)
        else initializer
    )
