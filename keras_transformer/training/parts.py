"""Layers by their places, and what becomes of a model whose trainable weights change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras

from keras_transformer.layers.sublayers import inner_layers


def layers_by_place(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Returns a layer and those inside it by where they stand, which a loaded model has in common.

    A layer's own path is not: it depends on who built the layer first.

    Args:
        layer: a layer or a model.

    Returns:
        The layers, outer ones before inner ones, by the names of the attributes on the way.
    """
    return {"": layer, **{inner.place: inner.layer for inner in inner_layers(layer)}}


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
