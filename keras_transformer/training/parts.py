"""The layers inside a model, and what becomes of a model whose trainable weights change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers inside it, each once.

    Args:
        layer: a layer or a model.

    Returns:
        The layers, outer ones before inner ones.
    """
    return list(layers_by_place(layer).values())


def layers_by_place(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns the same layers by where they stand, which a loaded model has in common.

    A layer's own path is not: it depends on who built the layer first.

    Args:
        layer: a layer or a model.

    Returns:
        The layers, outer ones before inner ones, by the names of the attributes on the way.
    """
    found, seen = {}, set()
    stack = [("", layer)]
    while stack:
        place, current = stack.pop()
        if id(current) not in seen:
            seen.add(id(current))
            found[place] = current
            inner = [(f"{place}/{name}", child) for name, child in _children(current)]
            stack.extend(reversed(inner))
    return found


def _children(layer: keras.layers.Layer) -> Iterator[tuple[str, keras.layers.Layer]]:
    if isinstance(layer, keras.Model):
        yield from _layers_in("layers", layer.layers)
    attributes = dict(vars(layer))
    # On torch a layer is a module too, which keeps its layers here.
    attributes |= attributes.get("_modules") or {}
    # Sorted: the backends keep them in another order.
    for name in sorted(attributes):
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


def freeze_all_but(model: keras.Model, weights: Iterable[Any]) -> None:
    """Freezes the weights of a model that are trainable, but for some.

    Args:
        model: the model.
        weights: those that stay trainable.
    """
    kept = {id(weight) for weight in weights}
    for weight in model.trainable_weights:
        weight.trainable = id(weight) in kept


def make_trainable(model: keras.Model) -> None:
    """Makes all weights of a model trainable that ever were."""
    # On TensorFlow an attribute that is True already ignores being set to True, and the weights
    # that were frozen one by one stayed so.
    model.trainable = False
    model.trainable = True


def needs_compiling(model: keras.Model) -> None:
    """Makes Keras ask for `compile`, before it trains on with programs and slots of the past.

    An optimizer has slots for the weights that were trainable when it first ran, and a compiled
    step works on these; `predict` too may have compiled the layers as they were.

    Args:
        model: a model whose trainable weights or layers have changed.
    """
    model.compiled = False
    model.train_function = None
    model.test_function = None
    model.predict_function = None
