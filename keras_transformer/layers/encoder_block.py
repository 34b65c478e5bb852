"""The encoder block.

Shape letters: B batch, T length, N heads, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.layers.block import Block
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.ops.masks import first_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TransformerEncoderBlock(Block):
    r"""Encoder block: self-attention and a feed-forward network, each with a residual connection.

    Post-LN, as in the paper: $x = \text{LayerNorm}(x + \text{Dropout}(\text{Sublayer}(x)))$.
    Pre-LN (`normalize_first`): $x = x + \text{Dropout}(\text{Sublayer}(\text{LayerNorm}(x)))$.

    Args:
        num_heads: Number of attention heads.
        intermediate_dim: Width of the feed-forward network.
        dropout: Dropout rate on the output of each sublayer, before the residual is added.
        activation: Activation of the feed-forward network: a Keras activation or
            "gelu_approximate".
        normalize_first: Whether to use pre-LN instead of post-LN.
        layer_norm_epsilon: Epsilon of the norms.
        attention_dropout: Dropout rate on the attention weights.
        activation_dropout: Dropout rate inside the feed-forward network.
        num_key_value_heads: Number of key/value heads; by default `num_heads`. See
            `MultiHeadAttention`.
        use_attention_bias: Whether the query, key and value projections have biases.
        rotary: Rotary positions in the self-attention: True, a `RotaryEmbedding`, or a dict of its
            arguments, such as `{"max_wavelength": 500000.0}`.
        kernel_initializer: Initializer of all kernels; by default Glorot uniform, which
            `MultiHeadAttention` adapts to its projections.
        bias_initializer: Initializer of all biases.
        relative_positions: "shaw", "t5", "alibi" or a layer, see `MultiHeadSelfAttention`.
        window: Window of local self-attention, see `MultiHeadSelfAttention`; None for global
            attention.
        gated: Whether to use a gated feed-forward network, see `FeedForward`.
        head_dim: Size of a head; by default the hidden size divided by `num_heads`.
        norm: "layer" for layer normalization or "rms" for RMS normalization.
        use_norm_bias: Whether layer norms have a bias; RMS norms never have one.
        query_key_norm: "layer" or "rms" to normalize each head's queries and keys; None for no
            normalization.
        attention_scale: Factor by which to multiply the scores; by default 1 / sqrt(head size).
        use_attention_output_bias: Whether the attention's output projection has a bias; defaults to
            `use_attention_bias`.
        use_feed_forward_bias: Whether the feed-forward network has biases.
        attention_implementation: "auto", "dense", "fused" or "blockwise", see
            `kt.ops.dot_product_attention`.

    Raises:
        ValueError: If an argument is out of range, or `num_heads` does not divide the hidden size.

    Example:
        >>> import keras, keras_transformer as kt
        >>> block = kt.layers.TransformerEncoderBlock(num_heads=2, intermediate_dim=32)
        >>> block(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)

    See Also:
        `kt.layers.TransformerEncoder` stacks such blocks; `kt.layers.DecoderBlock` is the causal
        block.

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
            padding_mask: Boolean (B, T), True for real tokens.
            attention_mask: Boolean (T, T), (B, T, T) or (B, N, T, T), True if a query may attend.
            positions: Int (T,) or (B, T), the position of each token; by default 0 .. T - 1.
            return_attention_scores: Whether to also return the attention weights.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.

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
