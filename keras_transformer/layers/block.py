"""The base class of encoder and decoder blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_transformer.checks import check_above, check_choice, check_flag, check_rate, given
from keras_transformer.layers.activations import get_activation
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.layers.feed_forward import FeedForward
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.norms import NORMS, make_norm
from keras_transformer.layers.position_arguments import get_relative_positions, get_rotary
from keras_transformer.layers.self_attention import MultiHeadSelfAttention
from keras_transformer.ops.scaled_dot_product import IMPLEMENTATIONS
from keras_transformer.recording import report

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class Block(Layer):
    """Base class of the encoder block and the decoder block.

    Stores and checks the arguments that `TransformerEncoderBlock` documents, makes sublayers from
    them, and applies the residual connection. Custom blocks need not derive from it.
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        dropout: float,
        activation: Any,
        normalize_first: bool,
        layer_norm_epsilon: float,
        *,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        rotary: Any = False,
        relative_positions: Any = None,
        window: int | None = None,
        gated: bool = False,
        norm: str = "layer",
        query_key_norm: str | None = None,
        attention_scale: float | None = None,
        attention_implementation: str = "auto",
        use_attention_bias: bool = True,
        use_attention_output_bias: bool | None = None,
        use_feed_forward_bias: bool = True,
        use_norm_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_rate(
            dropout=dropout,
            attention_dropout=attention_dropout,
            activation_dropout=activation_dropout,
        )
        check_flag(
            normalize_first=normalize_first,
            use_attention_bias=use_attention_bias,
            use_norm_bias=use_norm_bias,
            use_feed_forward_bias=use_feed_forward_bias,
        )
        check_above(0, layer_norm_epsilon=layer_norm_epsilon)
        check_choice(NORMS, norm=norm)
        check_choice(IMPLEMENTATIONS, attention_implementation=attention_implementation)
        check_flag(**given(use_attention_output_bias=use_attention_output_bias))
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.activation = get_activation(activation)
        self.normalize_first = normalize_first
        self.layer_norm_epsilon = layer_norm_epsilon
        self.attention_dropout = attention_dropout
        self.activation_dropout = activation_dropout
        self.num_key_value_heads = num_key_value_heads
        self.use_attention_bias = use_attention_bias
        self.rotary = get_rotary(rotary)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.relative_positions = get_relative_positions(relative_positions)
        self.window = window
        self.gated = gated
        self.head_dim = head_dim
        self.norm = norm
        self.use_norm_bias = use_norm_bias
        self.query_key_norm = query_key_norm
        self.attention_scale = attention_scale
        self.use_attention_output_bias = use_attention_output_bias
        self.use_feed_forward_bias = use_feed_forward_bias
        self.attention_implementation = attention_implementation
        self.supports_masking = True

    def residual(
        self,
        x: Tensor,
        norm: keras.layers.Layer,
        sublayer: Callable[[Tensor], Tensor],
        training: bool | None = None,
    ) -> Tensor:
        """Applies a sublayer with its residual connection, dropout and norm.

        Args:
            x: (B, T, D).
            norm: The sublayer's norm.
            sublayer: Maps (B, T, D) to (B, T, D).
            training: Whether dropout is active.

        Returns:
            (B, T, D): `norm(x + dropout(sublayer(x)))`, or `x + dropout(sublayer(norm(x)))` with
            `normalize_first`.
        """
        name = norm.name.removesuffix("_norm") + "_residual"
        if self.normalize_first:
            change = self.residual_dropout(sublayer(norm(x)), training=training)
            return report(name, x + change)
        change = self.residual_dropout(sublayer(x), training=training)
        return norm(report(name, x + change))

    def make_norm(self, name: str) -> keras.layers.Layer:
        """Creates a norm of the block's kind."""
        return make_norm(
            self.norm,
            self.layer_norm_epsilon,
            self.use_norm_bias,
            dtype=self.dtype_policy,
            name=name,
        )

    def _kernel_arguments(self):
        return {
            "kernel_initializer": self.kernel_initializer,
            "bias_initializer": self.bias_initializer,
            "dtype": self.dtype_policy,
        }

    def _head_arguments(self):
        """The arguments shared by self-attention and cross-attention."""
        return {
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "num_key_value_heads": self.num_key_value_heads,
            "dropout": self.attention_dropout,
            "use_bias": self.use_attention_bias,
            "use_output_bias": self.use_attention_output_bias,
            "query_key_norm": self.query_key_norm,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "attention_scale": self.attention_scale,
            "implementation": self.attention_implementation,
            **self._kernel_arguments(),
        }

    def _make_self_attention(self, causal: bool) -> MultiHeadSelfAttention:
        return MultiHeadSelfAttention(
            causal=causal,
            rotary=self.rotary,
            relative_positions=self.relative_positions,
            window=self.window,
            name="self_attention",
            **self._head_arguments(),
        )

    def _make_feed_forward(self) -> FeedForward:
        return FeedForward(
            self.intermediate_dim,
            self.activation,
            self.activation_dropout,
            use_bias=self.use_feed_forward_bias,
            gated=self.gated,
            name="feed_forward",
            **self._kernel_arguments(),
        )

    def _make_residual_dropout(self) -> Dropout:
        return Dropout(self.dropout, dtype=self.dtype_policy, name="residual_dropout")


def attends_to_source(block: keras.layers.Layer) -> bool:
    """Whether a block takes an encoded source: unless its `cross_attention` is False."""
    return getattr(block, "cross_attention", True)


def check_source(wanted: bool, given: bool) -> None:
    """Raises a ValueError if an encoded source is missing, or given without cross-attention."""
    if given != wanted:
        raise ValueError(
            "`encoded` must be given if and only if `cross_attention=True`. Received: "
            f"cross_attention={wanted}, encoded={'given' if given else None}."
        )
