"""The layers inside a layer, and how their state has changed since construction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from keras_transformer.layers.serialization import argument_names


class Inner(NamedTuple):
    """A layer inside another one.

    Attributes:
        path: The names of the layers down to this one, joined by "/".
        place: The names of the attributes on the way there, which do not depend on layer names.
        outer: The layer that holds it.
        layer: The layer.
    """

    path: str
    place: str
    outer: keras.layers.Layer
    layer: keras.layers.Layer


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers inside it, each once.

    Args:
        layer: A layer or a model.

    Returns:
        The layers, outer ones before inner ones.
    """
    return [layer, *(inner.layer for inner in inner_layers(layer))]


def inner_layers(
    layer: keras.layers.Layer, but: tuple[keras.layers.Layer, ...] = ()
) -> Iterator[Inner]:
    """Iterates over all layers inside a layer, each once, outer ones before inner ones.

    Args:
        layer: A layer or a model.
        but: Layers to skip, including all layers inside them.

    Returns:
        An iterator of `Inner`.
    """
    seen = {id(layer), *map(id, but)}
    stack = [
        Inner(child.name, place, layer, child)
        for place, child in reversed(list(direct_layers(layer)))
    ]
    while stack:
        inner = stack.pop()
        if id(inner.layer) in seen:
            continue
        seen.add(id(inner.layer))
        yield inner
        stack.extend(
            Inner(f"{inner.path}/{child.name}", f"{inner.place}/{place}", inner.layer, child)
            for place, child in reversed(list(direct_layers(inner.layer)))
        )


def direct_layers(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Iterates over the direct sublayers of a layer and the attributes that hold them.

    Args:
        layer: A layer or a model.

    Returns:
        An iterator of pairs: an attribute's name, followed by "/" and the index or key if it is a
        list or dict, and a layer. The same layer may occur more than once.
    """
    if isinstance(layer, keras.Model):
        yield from _layers_in("layers", layer.layers)
    attributes = dict(vars(layer))
    # On torch, layers are modules, which store their sublayers here.
    attributes |= attributes.get("_modules") or {}
    # Sorted, because the order differs between backends. Keras's own records of the same layers
    # start with an underscore and come last.
    for name in sorted(attributes, key=lambda name: (name.startswith("_"), name)):
        yield from _layers_in(name, attributes[name])


def _layers_in(name: str, value: Any) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(value, keras.layers.Layer):
        yield name, value
        return
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, keras.layers.Layer):
                yield f"{name}/{key}", item


def states_of(layer: keras.layers.Layer, layer_class: type) -> dict[str, dict[str, Any]]:
    """Collects the states of sublayers that have changed since construction.

    Args:
        layer: The layer.
        layer_class: The layer's class. Its constructor arguments that are layers are skipped, since
            they are saved with their own configs.

    Returns:
        Dicts by path: `trainable` and `dtype` if they differ from those of the outer layer, and
        `quantization_config` if the layer is quantized.
    """
    arguments = [getattr(layer, name, None) for name in argument_names(layer_class)]
    given = tuple(value for value in arguments if isinstance(value, keras.layers.Layer))
    states = {}
    for path, _, outer, inner in inner_layers(layer, but=given):
        state: dict[str, Any] = {}
        # A layer created frozen freezes its sublayers only when it is built.
        if inner.trainable != outer.trainable and (outer.trainable or layer.built):
            state["trainable"] = inner.trainable
        if inner.dtype_policy.name != outer.dtype_policy.name:
            state["dtype"] = keras.dtype_policies.serialize(inner.dtype_policy)
            config = getattr(inner, "quantization_config", None)
            if config is not None:
                state["quantization_config"] = keras.saving.serialize_keras_object(config)
        if state:
            states[path] = state
    return states


def restore_states(
    layer: keras.layers.Layer, states: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Restores the states collected by `states_of`.

    Args:
        layer: The layer.
        states: The states by path.

    Returns:
        The states of layers that do not exist yet.
    """
    if not states:
        return {}
    found = {inner.path: inner.layer for inner in inner_layers(layer)}
    for path in sorted(set(states) & set(found), key=lambda path: path.count("/")):
        _restore(found[path], states[path])
    return {path: state for path, state in states.items() if path not in found}


def _restore(layer, state):
    if "trainable" in state:
        layer.trainable = state["trainable"]
    if "dtype" not in state:
        return
    policy = keras.dtype_policies.deserialize(state["dtype"])
    if policy.quantization_mode and "quantization_config" in state:
        config = keras.saving.deserialize_keras_object(state["quantization_config"])
        layer.quantize(config=config)
    layer.dtype_policy = policy
