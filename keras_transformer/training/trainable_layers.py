"""Finding layers by place, and changing which weights of a model are trainable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from keras_transformer.layers.nested_layers import inner_layers


def layers_by_place(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns a layer and its inner layers by place.

    Unlike a layer's path, which depends on what built the layer first, its place is the same in a
    loaded model.

    Args:
        layer: A layer or a model.

    Returns:
        The layers by the attribute names that lead to them, outer layers first.
    """
    return {"": layer, **{inner.place: inner.layer for inner in inner_layers(layer)}}


def freeze_all_but(model: keras.Model, weights: Iterable[Any]) -> None:
    """Freezes all trainable weights of a model except the given ones.

    Args:
        model: The model.
        weights: The weights that stay trainable.
    """
    kept = {id(weight) for weight in weights}
    for weight in model.trainable_weights:
        weight.trainable = id(weight) in kept


def make_trainable(model: keras.Model) -> None:
    """Unfreezes all weights of a model that were ever trainable."""
    # On TensorFlow, setting an attribute to True has no effect if it is already True, which would
    # leave individually frozen weights frozen.
    model.trainable = False
    model.trainable = True


def needs_compiling(model: keras.Model) -> None:
    """Makes Keras require a new `compile` instead of using outdated functions and slots.

    An optimizer has slots for the weights that were trainable when it first ran, and a compiled
    step updates those; `predict` may also have compiled the layers before they changed.

    Args:
        model: A model whose trainable weights or layers have changed.
    """
    model.compiled = False
    model.train_function = None
    model.test_function = None
    model.predict_function = None
