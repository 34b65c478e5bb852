"""What encoder and decoder blocks are made of, from the attributes that both have."""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.layers.checks import check_above, check_flag, check_rate
from keras_transformer.layers.feed_forward import FeedForward
from keras_transformer.layers.self_attention import MultiHeadSelfAttention


def check_arguments(block: keras.layers.Layer) -> None:
    """Raises the ValueError of an argument of both kinds of blocks that no sub-layer names so."""
    check_rate(
        dropout=block.dropout,
        attention_dropout=block.attention_dropout,
        activation_dropout=block.activation_dropout,
    )
    check_flag(
        normalize_first=block.normalize_first,
        use_attention_bias=block.use_attention_bias,
        rotary=block.rotary,
    )
    check_above(0, layer_norm_epsilon=block.layer_norm_epsilon)


def common_arguments(block: keras.layers.Layer) -> dict[str, Any]:
    """The arguments that all sub-layers with kernels take."""
    return {
        "kernel_initializer": block.kernel_initializer,
        "bias_initializer": block.bias_initializer,
        "dtype": block.dtype_policy,
    }


def head_arguments(block: keras.layers.Layer) -> dict[str, Any]:
    """The arguments that both kinds of attention take."""
    return {
        "num_heads": block.num_heads,
        "num_key_value_heads": block.num_key_value_heads,
        "dropout": block.attention_dropout,
        "use_bias": block.use_attention_bias,
        **common_arguments(block),
    }


def make_self_attention(block: keras.layers.Layer, causal: bool) -> MultiHeadSelfAttention:
    """Makes the self-attention of a block."""
    return MultiHeadSelfAttention(
        causal=causal,
        rotary=block.rotary,
        relative_positions=block.relative_positions,
        window=block.window,
        name="self_attention",
        **head_arguments(block),
    )


def make_feed_forward(block: keras.layers.Layer) -> FeedForward:
    """Makes the feed-forward network of a block."""
    return FeedForward(
        block.intermediate_dim,
        block.activation,
        block.activation_dropout,
        gated=block.gated,
        name="feed_forward",
        **common_arguments(block),
    )


def make_norm(block: keras.layers.Layer, name: str) -> keras.layers.LayerNormalization:
    """Makes one of the layer norms of a block or a stack."""
    return keras.layers.LayerNormalization(
        epsilon=block.layer_norm_epsilon, dtype=block.dtype_policy, name=name
    )
