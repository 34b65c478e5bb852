"""The encoder block.

Shape letters: B batch, T length, N heads, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.layers.block import Block
from keras_transformer.layers.checks import check_hidden
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.ops.masks import first_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TransformerEncoderBlock(Block):
    r"""Encoder block: self-attention and a feed-forward network, each with a residual connection.

    Post-LN, as in the paper: $x = \text{LayerNorm}(x + \text{Dropout}(\text{Sublayer}(x)))$.
    Pre-LN (`normalize_first`): $x = x + \text{Dropout}(\text{Sublayer}(\text{LayerNorm}(x)))$.

    Args:
        num_heads: number of attention heads.
        intermediate_dim: width of the feed-forward network.
        dropout: dropout rate on the output of each sub-layer, before the residual is added.
        activation: activation of the feed-forward network: a Keras activation or
            "gelu_approximate".
        normalize_first: pre-LN instead of post-LN.
        layer_norm_epsilon: epsilon of the norms.
        attention_dropout: dropout rate on the attention weights.
        activation_dropout: dropout rate inside the feed-forward network.
        num_key_value_heads: number of key/value heads, by default `num_heads`; see
            `MultiHeadAttention`.
        use_attention_bias: whether the query, key and value projections have biases.
        rotary: rotary positions in the self-attention: True, a `RotaryEmbedding`, or a dict of its
            arguments, such as `{"max_wavelength": 500000.0}`.
        kernel_initializer: initializer of all kernels; by default Glorot uniform, in the attention
            as `MultiHeadAttention` describes.
        bias_initializer: initializer of all biases.
        relative_positions: "shaw", "t5", "alibi" or a layer, see `MultiHeadSelfAttention`.
        window: width of local self-attention, see `MultiHeadSelfAttention`; None for global.
        gated: use a gated feed-forward network, see `FeedForward`.
        head_dim: size of a head, by default the hidden size divided by `num_heads`.
        norm: "layer" for layer normalization or "rms" for RMS normalization.
        use_norm_bias: whether layer norms have a bias; RMS norms never have one.
        query_key_norm: "layer" or "rms" to normalize each head's queries and keys; None for not.
        attention_scale: factor on the attention scores, by default 1 / sqrt(head size).
        use_attention_output_bias: whether the attention's output projection has a bias; by default
            as `use_attention_bias`.
        use_feed_forward_bias: whether the feed-forward network has biases.
        attention_implementation: "auto", "dense", "fused" or "blockwise", see
            `kt.ops.dot_product_attention`.

    Raises:
        ValueError: an argument outside its range, or heads that do not divide the hidden size.

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
        **kwargs: Any,
    ):
        super().__init__(
            num_heads,
            intermediate_dim,
            dropout,
            activation,
            normalize_first,
            layer_norm_epsilon,
            **kwargs,
        )
        self.self_attention = self._make_self_attention(causal=False)
        self.feed_forward = self._make_feed_forward()
        self.self_attention_norm = self.make_norm("self_attention_norm")
        self.feed_forward_norm = self.make_norm("feed_forward_norm")
        self.residual_dropout = self._make_residual_dropout()

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
            positions: int (T,) or (B, T), the position of each token; by default 0 .. T - 1.
            return_attention_scores: also return the attention weights.
            training: whether dropout is active.
            mask: the implicit Keras mask of `inputs`; Keras passes it.
            inputs_mask: as `mask`.

        Returns:
            (B, T, D), or `{"output": ..., "attention_scores": (B, N, T, T)}`.
        """
        check_hidden("inputs", inputs)
        extras: dict[str, Any] = {}

        def attend(x):
            result = self.self_attention(
                x,
                padding_mask=first_mask(padding_mask, mask, inputs_mask),
                attention_mask=attention_mask,
                positions=positions,
                return_attention_scores=return_attention_scores,
                training=training,
            )
            return take_output(result, extras)

        def feed_forward(x):
            return self.feed_forward(x, training=training)

        x = self.residual(inputs, self.self_attention_norm, attend, training)
        x = self.residual(x, self.feed_forward_norm, feed_forward, training)
        return make_output(x, extras)
