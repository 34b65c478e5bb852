"""The decoder stack, with its cache.

Shape letters: B batch, T target length, S source length, L cache slots, N heads, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_transformer.layers.block_parts import make_norm
from keras_transformer.layers.checks import (
    check_flag,
    check_hidden,
    check_positive,
    check_rate,
    check_windows,
)
from keras_transformer.layers.decoder_block import DecoderBlock
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.relative_choice import get_relative_positions
from keras_transformer.layers.rematerialization import call_block
from keras_transformer.layers.serialization import (
    get_activation,
    make_block,
)
from keras_transformer.layers.sharing import take_layer
from keras_transformer.ops.cache import DecoderCache
from keras_transformer.ops.masks import first_mask, target_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TransformerDecoder(Layer):
    """A stack of decoder blocks, with positions in front where they are asked for.

    One forward path serves training, prefill and steps: with a cache, `call` continues what the
    cache holds. Pre-LN stacks end with one more layer norm.

    Args:
        num_layers: number of blocks.
        num_heads: number of attention heads.
        intermediate_dim: width of the feed-forward networks.
        cross_attention: attend to an encoded source; False for language models.
        dropout: rate on the output of each sub-layer.
        activation: of the feed-forward networks.
        normalize_first: pre-LN instead of post-LN.
        layer_norm_epsilon: epsilon of the layer norms.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate inside the feed-forward networks.
        num_key_value_heads: fewer key/value heads than query heads.
        use_attention_bias: whether the attention projections have biases.
        rotary: rotary positions in the self-attentions.
        causal: each position sees only itself and what came before it.
        kernel_initializer: initializer of all kernels; by default Glorot's uniform one, in the
            attention as `MultiHeadAttention` says.
        bias_initializer: initializer of all biases.
        positional_encoding: a layer that adds positions to the input, such as
            `PositionalEncoding()` or `LearnedPositionalEmbedding(512)`.
        input_dropout: rate on the input, after the positions.
        recurrence: "ssru" for recurrent units in place of the self-attentions, see `DecoderBlock`.
        start_is_padding: the first position is a real token although the implicit mask hides it:
            Marian starts each target with the padding id.
        rematerialize: in training, keep of each block its input alone, and compute the block once
            more in the backward pass: less memory, one more forward pass. The numbers are the same.
            No part of it: calls that ask for attention weights or pass a cache.
        relative_positions: "shaw", "t5" or "alibi", see `MultiHeadSelfAttention`.
        window: how far the self-attentions see, see `MultiHeadSelfAttention`; of a sequence the
            blocks take turns: `(None, 128)` is GPT-3's alternation of dense and banded attention.
        gated: gated feed-forward networks, see `FeedForward`.

    Example:
        >>> import keras, keras_transformer as kt
        >>> decoder = kt.layers.TransformerDecoder(
        ...     num_layers=2, num_heads=2, intermediate_dim=32, cross_attention=False)
        >>> full = decoder(keras.ops.ones((2, 5, 8)))
        >>> cache = decoder.initial_cache(batch_size=2, length=5)
        >>> result = decoder(keras.ops.ones((2, 3, 8)), cache=cache, cache_index=0)
        >>> result = decoder(keras.ops.ones((2, 2, 8)), cache=result["cache"], cache_index=3)
        >>> bool(keras.ops.all(keras.ops.abs(result["output"] - full[:, 3:]) < 1e-5))
        True

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1.
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        intermediate_dim: int,
        cross_attention: bool = True,
        dropout: float = 0.1,
        activation: Any = "relu",
        normalize_first: bool = False,
        layer_norm_epsilon: float = 1e-6,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        num_key_value_heads: int | None = None,
        use_attention_bias: bool = True,
        rotary: bool = False,
        causal: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        positional_encoding: Any = None,
        input_dropout: float = 0.0,
        recurrence: str | None = None,
        start_is_padding: bool = False,
        rematerialize: bool = False,
        relative_positions: Any = None,
        window: int | Sequence[int | None] | None = None,
        gated: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_layers=num_layers)
        check_rate(input_dropout=input_dropout)
        check_flag(start_is_padding=start_is_padding, rematerialize=rematerialize)
        check_windows(window)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.cross_attention = cross_attention
        self.dropout = dropout
        self.activation = get_activation(activation)
        self.normalize_first = normalize_first
        self.layer_norm_epsilon = layer_norm_epsilon
        self.attention_dropout = attention_dropout
        self.activation_dropout = activation_dropout
        self.num_key_value_heads = num_key_value_heads
        self.use_attention_bias = use_attention_bias
        self.rotary = rotary
        self.causal = causal
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.positional_encoding = take_layer(positional_encoding, owner=self)
        self.input_dropout = input_dropout
        self.recurrence = recurrence
        self.start_is_padding = start_is_padding
        self.rematerialize = rematerialize
        self.relative_positions = get_relative_positions(relative_positions)
        self.window = window
        self.gated = gated
        self.supports_masking = True
        self.blocks = [make_block(self, DecoderBlock, index) for index in range(num_layers)]
        self.input_dropout_layer = Dropout(
            input_dropout, dtype=self.dtype_policy, name="input_dropout"
        )
        self.final_norm = make_norm(self, "final_norm") if normalize_first else None

    def build(self, inputs_shape: tuple, encoded_shape: tuple | None = None) -> None:
        for block in self.blocks:
            block.build(inputs_shape, encoded_shape)
        for sublayer in (self.positional_encoding, self.final_norm):
            # Built already: positions that two stacks share.
            if sublayer is not None and not sublayer.built:
                sublayer.build(inputs_shape)

    def compute_output_shape(
        self, inputs_shape: tuple, encoded_shape: tuple | None = None
    ) -> tuple:
        return inputs_shape

    @property
    def shares_slots(self) -> bool:
        """Whether the cache is slots of positions alone, see `kt.decoding.DecodingModel`."""
        return self.recurrence is None

    def initial_cache(
        self,
        batch_size: int,
        length: int,
        encoded: Tensor | None = None,
        encoded_padding_mask: Tensor | None = None,
    ) -> DecoderCache:
        """Makes the cache that a first cached call starts from.

        Args:
            batch_size: B.
            length: L, the number of slots.
            encoded: (B, S, D'), the encoded source; its keys and values are computed here, once.
            encoded_padding_mask: boolean (B, S), True where a source token is real. Not needed
                here, where keys are made and not looked at; recurrent decoders need it.

        Returns:
            A `DecoderCache`.
        """
        if encoded is not None:
            encoded = ops.cast(encoded, self.compute_dtype)
        self_attention, cross_attention = [], []
        for block in self.blocks:
            block._check_source(encoded, None)
            self_attention.append(block.initial_cache(batch_size, length))
            if encoded is not None:
                cross_attention.append(block.source_attention.make_cache(encoded))
        return DecoderCache(tuple(self_attention), tuple(cross_attention))

    def call(
        self,
        inputs: Tensor,
        encoded: Tensor | None = None,
        padding_mask: Tensor | None = None,
        encoded_padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: DecoderCache | None = None,
        cache_index: Tensor | int | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
        encoded_mask: Tensor | None = None,
    ) -> Any:
        """Runs the stack.

        Args:
            inputs: (B, T, D).
            encoded: (B, S, D'), the encoded source; not needed with a cache that holds it.
            padding_mask: boolean (B, T), True where a target token is real; with a cache (B, L).
            encoded_padding_mask: boolean (B, S), True where a source token is real.
            attention_mask: boolean (T, T), (B, T, T) or (B, N, T, T), True = may attend, beside
                the causal mask.
            positions: int (T,) or (B, T), where each token stands; by default `cache_index` and on.
            cache: a `DecoderCache` to continue.
            cache_index: first slot of the cache that `inputs` fills; by default 0.
            return_attention_scores: also return the attention weights.
            training: whether dropout is active.
            mask: the implicit Keras mask of `inputs`; Keras passes it.
            inputs_mask: as `mask`.
            encoded_mask: the implicit Keras mask of `encoded`; Keras passes it.

        Returns:
            (B, T, D); or a dict of `output` and what was asked for: `cache` the new one where one
            was given, `attention_scores` and `cross_attention_scores`, tuples over the blocks of
            (B, N, T, T or L) and (B, N, T, S).
        """
        check_hidden("inputs", inputs)
        if cache is not None and positions is None:
            start = 0 if cache_index is None else cache_index
            positions = ops.arange(ops.shape(inputs)[1], dtype="int32") + start
        x = inputs
        if self.positional_encoding is not None:
            x = self.positional_encoding(x, positions)
        x = self.input_dropout_layer(x, training=training)
        common: dict[str, Any] = {
            "padding_mask": target_mask(padding_mask, cache, *self._unhidden(mask, inputs_mask)),
            "encoded_padding_mask": first_mask(encoded_padding_mask, encoded_mask),
            "attention_mask": attention_mask,
            "positions": positions,
            "cache_index": cache_index,
            "return_attention_scores": return_attention_scores,
            "training": training,
        }
        again = self.rematerialize and training and cache is None and not return_attention_scores
        common["rematerialize"] = again
        extras: dict[str, Any] = {}
        for index, block in enumerate(self.blocks):
            result = call_block(block, x, encoded, **common, **_block_caches(cache, index))
            gathered: dict[str, Any] = {}
            x = take_output(result, gathered)
            for key, value in gathered.items():
                extras[key] = (*extras.get(key, ()), value)
        if self.final_norm is not None:
            x = self.final_norm(x)
        if cache is not None:
            extras["cache"] = DecoderCache(extras["cache"], cache.cross_attention)
        return make_output(x, extras)

    def _unhidden(self, *masks):
        """Implicit masks (B, T), which show the first position where it is the start."""
        if not self.start_is_padding:
            return masks
        return [
            None if mask is None else ops.logical_or(mask, ops.arange(ops.shape(mask)[1]) == 0)
            for mask in masks
        ]


def _block_caches(cache, index):
    if cache is None:
        return {}
    cross = cache.cross_attention[index] if cache.cross_attention else None
    return {"cache": cache.self_attention[index], "cross_cache": cross}
