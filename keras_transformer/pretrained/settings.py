"""What a model says of itself, for the config of a foreign format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from keras_transformer.layers.positional import LearnedPositionalEmbedding
from keras_transformer.layers.serialization import get_activation
from keras_transformer.pretrained.config import ACTIVATIONS

# What says nothing of the outputs of a trained model, and what only wraps other values.
_SILENT = {
    "name",
    "trainable",
    "dtype",
    "module",
    "registered_name",
    "build_config",
    "shared_object_id",
    "kernel_initializer",
    "bias_initializer",
    "embeddings_initializer",
    "beta_initializer",
    "gamma_initializer",
}
# Without a bias is with a bias of zeros.
_BIASES = {"use_bias", "use_attention_bias", "output_bias"}


def activation_name(layer: Any, names: dict[str, str] = ACTIVATIONS) -> str:
    """The foreign name of a layer's activation.

    Args:
        layer: a stack, with an attribute `activation`.
        names: our names by the foreign ones.

    Returns:
        The first name that fits.

    Raises:
        ValueError: none fits.
    """
    for name, ours in names.items():
        if get_activation(ours) is layer.activation:
            return name
    raise ValueError(
        f"`activation` must be one of {sorted(set(names.values()))} in this format. "
        f"Received: activation={layer.activation!r} in the layer {layer.name!r}."
    )


def learned_length(layer: Any, name: str) -> int:
    """The number of learned positions, of a layer that must learn them."""
    if not isinstance(layer, LearnedPositionalEmbedding):
        raise ValueError(
            "`positional_encoding` must be a LearnedPositionalEmbedding in this format. "
            f"Received: {type(layer).__name__} in the layer {name!r}."
        )
    return layer.max_length


def check_settings(
    model: keras.Model, twin: keras.Model, model_type: str, adapted: Iterable[str]
) -> None:
    """Raises a ValueError unless a model is what its config builds.

    Args:
        model: the model.
        twin: what the config builds.
        model_type: what the format calls it.
        adapted: settings that may differ.
    """
    kinds, twin_kinds = (Counter(type(layer).__name__ for layer in m.layers) for m in (model, twin))
    if kinds != twin_kinds:
        raise ValueError(
            f"`model` must have the layers of {model_type} in the form of Hugging Face. Received: "
            f"too many: {sorted((kinds - twin_kinds).elements())}, "
            f"missing: {sorted((twin_kinds - kinds).elements())}."
        )
    own = {layer.name: layer for layer in model.layers}
    for layer in twin.layers:
        if layer.weights:
            received = _flat(own[layer.name].get_config()) if layer.name in own else {}
            for key, expected in _flat(layer.get_config()).items():
                value = received.get(key)
                missing_bias = key.split(".")[-1] in _BIASES and value is False
                if value != expected and not missing_bias and key not in adapted:
                    raise ValueError(
                        f"`{layer.name}.{key}` must be {expected!r} in a {model_type} of Hugging "
                        f"Face. Received: {value!r}."
                    )


def _flat(config, prefix=""):
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if key in _SILENT:
            continue
        if key == "num_key_value_heads" and value == config.get("num_heads"):
            value = None  # said in another way
        if isinstance(value, dict) and key != "activation":
            flat |= _flat(value, prefix if key == "config" else f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
