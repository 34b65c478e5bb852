"""The settings of a model, for the config of another library's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import keras

from keras_transformer.layers.activations import get_activation
from keras_transformer.layers.positional import LearnedPositionalEmbedding
from keras_transformer.layers.rotary import RotaryEmbedding
from keras_transformer.pretrained.config import ACTIVATIONS

# Keys that do not affect the outputs of a trained model, or only wrap other values.
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
# No bias is equivalent to a bias of zeros.
_BIASES = {"use_bias", "use_attention_bias", "use_attention_output_bias", "output_bias"}


def activation_name(layer: Any, names: dict[str, str] = ACTIVATIONS) -> str:
    """Returns the name of a layer's activation in another format.

    Args:
        layer: A block, with an attribute `activation`.
        names: Our names, keyed by those of the format.

    Returns:
        The first name that matches.

    Raises:
        ValueError: If none matches.
    """
    for name, ours in names.items():
        if get_activation(ours) is layer.activation:
            return name
    raise ValueError(
        f"`activation` must be one of {sorted(set(names.values()))} in this format. "
        f"Received: activation={layer.activation!r} in the layer {layer.path!r}."
    )


def block_of(stack: Any) -> Any:
    """Returns the block that all layers of a stack repeat; raises if different blocks alternate.

    Args:
        stack: A `TransformerEncoder` or a `TransformerDecoder`.

    Returns:
        The block.

    Raises:
        ValueError: If `block` of the stack is a list.
    """
    if isinstance(stack.block, (list, tuple)):
        raise ValueError(
            "`block` must be one block for all layers in this format. Received: "
            f"{len(stack.block)} alternating blocks in the layer {stack.name!r}."
        )
    return stack.blocks[0]


def learned_length(layer: Any, name: str) -> int:
    """Returns the number of learned positions; raises if a layer does not learn them."""
    if not isinstance(layer, LearnedPositionalEmbedding):
        raise ValueError(
            "`positional_encoding` must be a LearnedPositionalEmbedding in this format. "
            f"Received: {type(layer).__name__} in the layer {name!r}."
        )
    return layer.max_length


def check_settings(
    model: keras.Model, twin: keras.Model, model_type: str, adapted: Iterable[str]
) -> None:
    """Raises a ValueError unless a model has the settings of the one built from its config.

    Args:
        model: The model.
        twin: The model built from the config.
        model_type: The name of the architecture in the format.
        adapted: Settings that may differ.
    """
    # A sentence encoder has fewer inputs: its segment ids are 0.
    kinds, twin_kinds = (
        Counter(
            type(layer).__name__
            for layer in one.layers
            if not isinstance(layer, keras.layers.InputLayer)
        )
        for one in (model, twin)
    )
    if kinds != twin_kinds:
        raise ValueError(
            f"`model` must have the layers of Hugging Face's {model_type}. Received: "
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
                        f"`{layer.name}.{key}` must be {expected!r} in Hugging Face's "
                        f"{model_type}. Received: {value!r}."
                    )


def _flat(config, prefix=""):
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if key in _SILENT:
            continue
        if key == "num_key_value_heads" and value == config.get("num_heads"):
            value = None  # equivalent
        elif key == "use_attention_output_bias" and value is None:
            value = config.get("use_attention_bias")
        elif key == "rotary" and value is True:
            value = keras.saving.serialize_keras_object(RotaryEmbedding())
        if key == "block" and isinstance(value, list):  # alternating blocks
            value = {str(i): value[i % len(value)] for i in range(config["num_layers"])}
        if isinstance(value, dict) and key != "activation":
            flat |= _flat(value, prefix if key == "config" else f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
