"""Training state that Keras files do not store: frozen layers, adapters and penalties."""

from __future__ import annotations

import itertools
import json
import zipfile
from typing import Any

import keras
import numpy as np

from keras_transformer.training.trainable_layers import layers_by_place


def describe_state(model: keras.Model) -> dict[str, Any]:
    """Returns which layers and weights are trainable, the adapters, and the weights' penalties.

    Args:
        model: A built model.

    Returns:
        A JSON-serializable dict for `restore_state`.
    """
    layers = layers_by_place(model)
    return {
        "layers": {place: bool(layer.trainable) for place, layer in layers.items()},
        "adapters": {
            place: [layer.lora_rank, layer.lora_alpha] for place, layer in _adapted(layers).items()
        },
        "weights": [
            [
                list(weight.shape),
                bool(weight.trainable),
                # From the layer's own arguments or from `add_l2`.
                weight.regularizer and keras.regularizers.serialize(weight.regularizer),
            ]
            for weight in model.weights
        ],
    }


def adapted_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of all adapted layers, since Keras files store only merged weights.

    Args:
        model: A model, with or without adapters.

    Returns:
        Arrays by layer place and weight name; {} without adapters.
    """
    return {
        f"{place}/{weight.name}": _array(weight)
        for place, layer in _adapted(layers_by_place(model)).items()
        for weight in layer.weights
    }


def restore_state(model: keras.Model, state: dict[str, Any]) -> None:
    """Freezes and adapts a model according to a saved state.

    Args:
        model: A built model of the same architecture, without adapters.
        state: The result of `describe_state`.

    Raises:
        ValueError: if the model has different layers or weights.
    """
    layers = layers_by_place(model)
    _check_same("layers", sorted(state["layers"]), sorted(layers))
    for place, (rank, alpha) in state["adapters"].items():
        layers[place].enable_lora(rank, lora_alpha=alpha)
    shapes = [shape for shape, *_ in state["weights"]]
    _check_same("weights", shapes, [list(weight.shape) for weight in model.weights])
    # Outer layers first, as they set the flags of inner ones; weights, which may differ, last.
    for place, layer in layers.items():
        layer.trainable = state["layers"][place]
    for weight, (_, trainable, regularizer) in zip(model.weights, state["weights"], strict=True):
        weight.trainable = trainable
        weight.regularizer = regularizer and keras.regularizers.deserialize(regularizer)


def restore_arrays(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Sets the weights of the adapted layers of a model.

    Args:
        model: A model whose adapters `restore_state` has added.
        arrays: The result of `adapted_arrays`.
    """
    for place, layer in _adapted(layers_by_place(model)).items():
        for weight in layer.weights:
            weight.assign(arrays[f"{place}/{weight.name}"])


def compile_as_saved(model: keras.Model, path: Any) -> None:
    """Compiles a model like the one in a file and loads the weights and optimizer state.

    `keras.saving.load_model` would do so before anything can be frozen, and then drop the state of
    an optimizer that was built for other weights.

    Args:
        model: The model, frozen and adapted like the one in the file.
        path: A `.keras` file.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    if config.get("compile_config"):
        model.compile_from_config(config["compile_config"])
        model.load_weights(path)


def _adapted(layers):
    return {
        place: layer for place, layer in layers.items() if getattr(layer, "lora_enabled", False)
    }


def _check_same(what, saved, own):
    if saved != own:
        differing = [pair for pair in itertools.zip_longest(saved, own) if pair[0] != pair[1]]
        raise ValueError(
            "`folder` must contain the training state of the model that is loaded from it. "
            f"Received: different {what}, {differing[0][0]} where the model has {differing[0][1]}."
        )


def _array(weight):
    array = keras.ops.convert_to_numpy(weight)
    # NumPy files do not support bfloat16.
    return array.astype("float32") if array.dtype.name == "bfloat16" else array
