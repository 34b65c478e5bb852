"""Training state that Keras files do not store: frozen layers, adapters and penalties."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import is_integer, is_number
from keras_transformer.files import open_archive, parse_json, read_entry
from keras_transformer.training.trainable_layers import layers_by_place

_TORCH_OPTIMIZERS = "keras.src.backend.torch.optimizers."
_PENALTY = (dict, type(None))


def describe_state(model: keras.Model) -> dict[str, Any]:
    """Returns the trainable flags, adapters, weight penalties and dtype policy of a model.

    Args:
        model: A built model.

    Returns:
        A JSON-serializable dict for `restore_state`.
    """
    layers = layers_by_place(model)
    return {
        # `compile` scales the loss of a model that was built under the policy "mixed_float16".
        "dtype_policy": model.dtype_policy.name,
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


def is_description(state: Any) -> bool:
    """Whether a value read from JSON has the types that `describe_state` returns."""
    if not isinstance(state, dict):
        return False
    layers, adapters, weights = (state.get(key) for key in ("layers", "adapters", "weights"))
    return (
        isinstance(state.get("dtype_policy", ""), str)
        and isinstance(layers, dict)
        and all(isinstance(flag, bool) for flag in layers.values())
        and isinstance(adapters, dict)
        and all(
            isinstance(pair, list)
            and len(pair) == 2
            and is_integer(pair[0])
            and pair[0] > 0
            and is_number(pair[1])
            for pair in adapters.values()
        )
        and isinstance(weights, list)
        and all(isinstance(weight, list) and len(weight) == 3 for weight in weights)
        and all(
            isinstance(shape, list) and isinstance(flag, bool) and isinstance(penalty, _PENALTY)
            for shape, flag, penalty in weights
        )
    )


def check_adapters(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Raises a ValueError unless adapters have the rank of their saved weights.

    Args:
        state: The result of `describe_state`.
        arrays: The result of `adapted_arrays`.
    """
    for place, (rank, _) in state["adapters"].items():
        shapes = [array.shape for name, array in arrays.items() if name.startswith(f"{place}/lora")]
        if not shapes or any(rank not in shape for shape in shapes):
            raise ValueError(
                "`adapters` in training.json must have the rank of their saved weights. "
                f"Received: rank {rank} for "
                f"{place!r}, whose weights have the shapes {shapes}."
            )


def random_seeds(model: keras.Model) -> list[Any]:
    """Returns the random states of a model, in the order of its layers."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


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
    """Freezes and adapts a model according to a saved state, and sets its policy.

    Args:
        model: A built model of the same architecture, without adapters.
        state: The result of `describe_state`.

    Raises:
        ValueError: if the model has different layers or weights.
    """
    layers = layers_by_place(model)
    _check_same("layers", sorted(state["layers"]), sorted(layers))
    if state.get("dtype_policy", model.dtype_policy.name) != model.dtype_policy.name:
        model.dtype_policy = keras.dtype_policies.get(state["dtype_policy"])
    for place, (rank, alpha) in state["adapters"].items():
        if not hasattr(layers.get(place), "enable_lora"):
            raise ValueError(
                f"`adapters` must belong to layers that can have them. Received: {place!r}."
            )
        layers[place].enable_lora(rank, lora_alpha=alpha)
    shapes = [shape for shape, *_ in state["weights"]]
    _check_same("weights", shapes, [list(weight.shape) for weight in model.weights])
    # Outer layers first, because they set the flags of inner ones; weights last, since theirs may
    # differ from their layer's.
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


def read_config(path: Any) -> dict[str, Any]:
    """Reads the config of a model from a `.keras` file, without creating anything.

    Args:
        path: The file.

    Returns:
        The config, with the public classes in place of Keras's optimizers for torch.

    Raises:
        ValueError: if the file is damaged; the message names the file.
    """
    with open_archive(path) as archive:
        return _portable(parse_json(read_entry(archive, "config.json"), path, constants=True))


def compile_as_saved(model: keras.Model, path: Any, config: dict[str, Any]) -> None:
    """Compiles a model like the one in a file and loads the weights and optimizer state.

    `keras.saving.load_model` would do so before anything can be frozen, and then drop the state of
    an optimizer that was built for other weights.

    Args:
        model: The model, frozen and adapted like the one in the file.
        path: A `.keras` file.
        config: The result of `read_config`.
    """
    if not config.get("compile_config"):
        return
    with warnings.catch_warnings():
        # Keras would only warn, and continue with an optimizer that starts from zero.
        warnings.filterwarnings("error", "Skipping variable loading for optimizer")
        model.compile_from_config(config["compile_config"])
        model.load_weights(path)


def _portable(config: Any) -> Any:
    """Replaces Keras's optimizers for torch, which other backends lack, with the public classes.

    On torch, `keras.optimizers.Adam` creates an object of a class that only torch has, and its
    file names that class.
    """
    if isinstance(config, list):
        return [_portable(value) for value in config]
    if not isinstance(config, dict):
        return config
    config = {name: _portable(value) for name, value in config.items()}
    if str(config.get("module", "")).startswith(_TORCH_OPTIMIZERS):
        return {**config, "module": "keras.optimizers", "registered_name": None}
    return config


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
