"""The encoder block.

Shape letters: B batch, T length, N heads, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.layers.block_parts import (
    check_arguments,
    make_feed_forward,
    make_norm,
    make_self_attention,
)
from keras_transformer.layers.checks import check_hidden
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.relative_choice import get_relative_positions
from keras_transformer.layers.serialization import get_activation
from keras_transformer.ops.masks import first_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TransformerEncoderBlock(Layer):
    r"""Self-attention and a feed-forward network, each with a residual connection.

    Post-LN, as in the paper: $x = \text{LayerNorm}(x + \text{Dropout}(\text{Sublayer}(x)))$.
    Pre-LN (`normalize_first`): $x = x + \text{Dropout}(\text{Sublayer}(\text{LayerNorm}(x)))$.

    Args:
        num_heads: number of attention heads.
        intermediate_dim: width of the feed-forward network.
        dropout: rate on the output of each sub-layer, before it is added.
        activation: of the feed-forward network.
        normalize_first: pre-LN instead of post-LN.
        layer_norm_epsilon: epsilon of the layer norms.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate inside the feed-forward network.
        num_key_value_heads: fewer key/value heads than query heads, see `MultiHeadAttention`.
        use_attention_bias: whether the attention projections have biases.
        rotary: rotary positions in the self-attention.
        kernel_initializer: initializer of all kernels; by default Glorot's uniform one, in the
            attention as `MultiHeadAttention` says.
        bias_initializer: initializer of all biases.
        relative_positions: "shaw", "t5" or "alibi", see `MultiHeadSelfAttention`.
        window: how far the self-attention sees, see `MultiHeadSelfAttention`.
        gated: a gated feed-forward network, see `FeedForward`.

    Example:
        >>> import keras, keras_transformer as kt
        >>> block = kt.layers.TransformerEncoderBlock(num_heads=2, intermediate_dim=32)
        >>> block(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1; pre-LN: Xiong et al. 2020,
        "On Layer Normalization in the Transformer Architecture".
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        activation: Any = "relu",
        normalize_first: bool = False,
        layer_norm_epsilon: float = 1e-6,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        num_key_value_heads: int | None = None,
        use_attention_bias: bool = True,
        rotary: bool = False,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        relative_positions: Any = None,
        window: int | None = None,
        gated: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
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
        self.rotary = rotary
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.relative_positions = get_relative_positions(relative_positions)
        self.window = window
        self.gated = gated
        self.supports_masking = True
        check_arguments(self)
        self._make_sublayers()

    def _make_sublayers(self):
        self.self_attention = make_self_attention(self, causal=False)
        self.feed_forward = make_feed_forward(self)
        self.self_attention_norm = make_norm(self, "self_attention_norm")
        self.feed_forward_norm = make_norm(self, "feed_forward_norm")
        self.residual_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="residual_dropout"
        )

    def build(self, inputs_shape: tuple) -> None:
        for sublayer in (
            self.self_attention,
            self.feed_forward,
            self.self_attention_norm,
            self.feed_forward_norm,
        ):
            sublayer.build(inputs_shape)

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Any:
        """Runs the block.

        Args:
            inputs: (B, T, D).
            padding_mask: boolean (B, T), True where a token is real.
            attention_mask: boolean (T, T), (B, T, T) or (B, N, T, T), True = may attend.
            positions: int (T,) or (B, T), where each token stands; by default 0 .. T - 1.
            return_attention_scores: also return the attention weights.
            training: whether dropout is active.
            mask: the implicit Keras mask of `inputs`; Keras passes it.
            inputs_mask: as `mask`.

        Returns:
            (B, T, D), or `{"output": ..., "attention_scores": (B, N, T, T)}`.
        """
        check_hidden("inputs", inputs)
        x = self.self_attention_norm(inputs) if self.normalize_first else inputs
        attended = self.self_attention(
            x,
            padding_mask=first_mask(padding_mask, mask, inputs_mask),
            attention_mask=attention_mask,
            positions=positions,
            return_attention_scores=return_attention_scores,
            training=training,
        )
        extras: dict[str, Any] = {}
        output = take_output(attended, extras)
        x = inputs + self.residual_dropout(output, training=training)
        if self.normalize_first:
            y = self.feed_forward(self.feed_forward_norm(x), training=training)
            x = x + self.residual_dropout(y, training=training)
        else:
            x = self.self_attention_norm(x)
            y = self.feed_forward(x, training=training)
            x = self.feed_forward_norm(x + self.residual_dropout(y, training=training))
        return make_output(x, extras)
