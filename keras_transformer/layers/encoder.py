"""The encoder stack.

Shape letters: B batch, T length, N heads, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_transformer.layers.block_parts import make_norm
from keras_transformer.layers.checks import (
    check_flag,
    check_hidden,
    check_positive,
    check_rate,
    check_windows,
)
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output
from keras_transformer.layers.relative_choice import get_relative_positions
from keras_transformer.layers.rematerialization import call_block
from keras_transformer.layers.serialization import (
    get_activation,
    make_block,
)
from keras_transformer.layers.sharing import take_layer
from keras_transformer.ops.masks import first_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TransformerEncoder(Layer):
    """A stack of encoder blocks, with positions in front where they are asked for.

    Pre-LN stacks end with one more layer norm, since nothing else normalises their sum.

    Args:
        num_layers: number of blocks.
        num_heads: number of attention heads.
        intermediate_dim: width of the feed-forward networks.
        dropout: rate on the output of each sub-layer.
        activation: of the feed-forward networks.
        normalize_first: pre-LN instead of post-LN.
        layer_norm_epsilon: epsilon of the layer norms.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate inside the feed-forward networks.
        num_key_value_heads: fewer key/value heads than query heads.
        use_attention_bias: whether the attention projections have biases.
        rotary: rotary positions in the self-attentions.
        kernel_initializer: initializer of all kernels; by default Glorot's uniform one, in the
            attention as `MultiHeadAttention` says.
        bias_initializer: initializer of all biases.
        positional_encoding: a layer that adds positions to the input, such as
            `PositionalEncoding()` or `LearnedPositionalEmbedding(512)`.
        input_dropout: rate on the input, after the positions.
        rematerialize: in training, keep of each block its input alone, and compute the block once
            more in the backward pass: less memory, one more forward pass. The numbers are the same.
            No part of it: calls that ask for attention weights.
        relative_positions: "shaw", "t5" or "alibi", see `MultiHeadSelfAttention`.
        window: how far the self-attentions see, see `MultiHeadSelfAttention`; of a sequence the
            blocks take turns: `(None, 128)` is GPT-3's alternation of dense and banded attention.
        gated: gated feed-forward networks, see `FeedForward`.

    Example:
        >>> import keras, keras_transformer as kt
        >>> encoder = kt.layers.TransformerEncoder(
        ...     num_layers=2, num_heads=2, intermediate_dim=32,
        ...     positional_encoding=kt.layers.PositionalEncoding())
        >>> encoder(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1.
    """

    def __init__(
        self,
        num_layers: int,
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
        positional_encoding: Any = None,
        input_dropout: float = 0.0,
        rematerialize: bool = False,
        relative_positions: Any = None,
        window: int | Sequence[int | None] | None = None,
        gated: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_layers=num_layers)
        check_rate(input_dropout=input_dropout)
        check_flag(rematerialize=rematerialize)
        check_windows(window)
        self.num_layers = num_layers
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
        self.positional_encoding = take_layer(positional_encoding, owner=self)
        self.input_dropout = input_dropout
        self.rematerialize = rematerialize
        self.relative_positions = get_relative_positions(relative_positions)
        self.window = window
        self.gated = gated
        self.supports_masking = True
        self.blocks = [
            make_block(self, TransformerEncoderBlock, index) for index in range(num_layers)
        ]
        self.input_dropout_layer = Dropout(
            input_dropout, dtype=self.dtype_policy, name="input_dropout"
        )
        self.final_norm = make_norm(self, "final_norm") if normalize_first else None

    def build(self, inputs_shape: tuple) -> None:
        for sublayer in (self.positional_encoding, *self.blocks, self.final_norm):
            # Built already: positions that two stacks share.
            if sublayer is not None and not sublayer.built:
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
        """Runs the stack.

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
            (B, T, D), or a dict of `output` and `attention_scores`, a tuple over the blocks of
            (B, N, T, T).
        """
        check_hidden("inputs", inputs)
        padding_mask = first_mask(padding_mask, mask, inputs_mask)
        x = inputs
        if self.positional_encoding is not None:
            x = self.positional_encoding(x, positions)
        x = self.input_dropout_layer(x, training=training)
        again = self.rematerialize and training and not return_attention_scores
        scores = []
        for block in self.blocks:
            x = call_block(
                block,
                x,
                rematerialize=again,
                padding_mask=padding_mask,
                attention_mask=attention_mask,
                positions=positions,
                return_attention_scores=return_attention_scores,
                training=training,
            )
            if return_attention_scores:
                scores.append(x["attention_scores"])
                x = x["output"]
        if self.final_norm is not None:
            x = self.final_norm(x)
        return make_output(
            x, {"attention_scores": tuple(scores)} if return_attention_scores else {}
        )
