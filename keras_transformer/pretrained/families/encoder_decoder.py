"""The settings and tensor names of the stacks of all Hugging Face translation models."""

from __future__ import annotations

from typing import Any

import keras
import ml_dtypes
import numpy as np

from keras_transformer.data.tokenizers.special_ids import SpecialIds
from keras_transformer.layers.positional import PositionalEncoding
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.mapping import Rule, attention, linear, norm, to_float32
from keras_transformer.pretrained.settings import activation_name, block_of

# The keys of both stacks, without their defaults.
ALIASES = {
    "hidden_size": "d_model",
    "num_attention_heads": "encoder_attention_heads",
    "num_hidden_layers": "encoder_layers",
}


def stack_arguments(config: Config) -> dict[str, Any]:
    """Returns the arguments of `kt.models.transformer` that describe the two stacks."""
    return {
        "num_layers": config.depth("encoder_layers"),
        "num_decoder_layers": config.depth("decoder_layers"),
        "num_heads": config.size("encoder_attention_heads"),
        "num_decoder_heads": config.size("decoder_attention_heads"),
        "hidden_dim": config.size("d_model"),
        "intermediate_dim": config.size("encoder_ffn_dim"),
        "decoder_intermediate_dim": config.size("decoder_ffn_dim"),
        "dropout": config.rate("dropout"),
        "attention_dropout": config.rate("attention_dropout"),
        "activation_dropout": config.rate("activation_dropout"),
        "activation": config.activation("activation_function"),
        "scale_embeddings": config.get("scale_embedding", bool),
    }


def stack_values(model: keras.Model) -> dict[str, Any]:
    """Returns the values of config.json that describe the two stacks of a model."""
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    block = block_of(encoder)
    values = {
        "dropout": block.dropout,
        "attention_dropout": block.attention_dropout,
        "activation_dropout": block.activation_dropout,
        "activation_function": activation_name(block),
    }
    for name, stack in (("encoder", encoder), ("decoder", decoder)):
        values[f"{name}_layers"] = stack.num_layers
        values[f"{name}_attention_heads"] = block_of(stack).num_heads
        values[f"{name}_ffn_dim"] = block_of(stack).intermediate_dim
    return values


def block_rules(config: Config) -> list[Rule]:
    """Returns the rules of the blocks of both stacks."""
    rules: list[Rule] = []
    for stack in ("encoder", "decoder"):
        for index in range(config.depth(f"{stack}_layers")):
            source, target = f"model.{stack}.layers.{index}", f"{stack}/block_{index}"
            rules += _attention(f"{source}.self_attn", f"{target}/self_attention/attention")
            rules += norm(f"{source}.self_attn_layer_norm", f"{target}/self_attention_norm")
            if stack == "decoder":
                rules += _attention(f"{source}.encoder_attn", f"{target}/cross_attention")
                rules += norm(f"{source}.encoder_attn_layer_norm", f"{target}/cross_attention_norm")
            rules += linear(f"{source}.fc1", f"{target}/feed_forward/intermediate")
            rules += linear(f"{source}.fc2", f"{target}/feed_forward/output")
            rules += norm(f"{source}.final_layer_norm", f"{target}/feed_forward_norm")
    return rules


def _attention(source: str, target: str) -> list[Rule]:
    return attention((f"{source}.{part}_proj" for part in ("q", "k", "v", "out")), target)


def shared_copies() -> dict[str, str]:
    """Returns the names of the copies of the embedding shared by source, target and logits."""
    copies = ("lm_head", "model.encoder.embed_tokens", "model.decoder.embed_tokens")
    return dict.fromkeys([f"{copy}.weight" for copy in copies], "model.shared.weight")


def is_transformer(model: keras.Model, names: set[str]) -> bool:
    """Returns whether a model has two stacks of blocks; recurrent models have no blocks."""
    stacks = {"encoder", "decoder"}
    return stacks <= names and all(hasattr(model.get_layer(name), "block") for name in stacks)


def are_sinusoids(array: np.ndarray, hidden_dim: int, layout: str, first_position: int = 0) -> bool:
    """Returns whether a table holds our sinusoids, up to rounding to half precision.

    Args:
        array: The table (L, D).
        hidden_dim: D.
        layout: Layout of the sinusoids.
        first_position: Position of the first token. Earlier rows are not used and not compared.

    Returns:
        Whether all other rows are equal.
    """
    if array.ndim != 2 or array.shape[1] != hidden_dim or len(array) <= first_position:
        return False
    layer = PositionalEncoding(layout, first_position=first_position, dtype="float32")
    positions = np.zeros((1, len(array) - first_position, hidden_dim), "float32")
    expected = to_float32(layer(positions))[0]
    # float16 even for float32, because files are often converted from float16.
    precision = array.dtype if array.dtype.name == "bfloat16" else np.dtype("float16")
    tolerance = float(ml_dtypes.finfo(precision).eps)
    received = array[first_position:].astype("float32")
    return bool(np.allclose(received, expected, rtol=0, atol=tolerance))


def check_ids(padding_id: int | None, ids: SpecialIds, model: str) -> None:
    """Raises a ValueError unless padding, start and end have ids; `model` names the family."""
    for name, value in (("padding_id", padding_id), ("start_id", ids.start), ("end_id", ids.end)):
        if value is None:
            raise ValueError(f"`{name}` must be an id for {model} model. Received: {name}=None.")


def generation_values(config: Config, ids: SpecialIds, max_length: int) -> dict[str, Any]:
    """Returns the content of generation_config.json; `max_length` is the family's usual limit."""
    keys = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
    values = {key: config.values[key] for key in keys}
    never = {values["pad_token_id"], ids.start, ids.unknown} - {None, ids.end}
    return {
        **values,
        "bad_words_ids": [[token] for token in sorted(never)],
        "max_length": max_length,
    }
