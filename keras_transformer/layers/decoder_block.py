"""The decoder block.

Shape letters: B batch, T target length, S source length, L cache slots, N heads, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.block_parts import (
    check_arguments,
    common_arguments,
    head_arguments,
    make_feed_forward,
    make_norm,
    make_self_attention,
)
from keras_transformer.layers.checks import check_flag, check_hidden
from keras_transformer.layers.dropout import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.recurrent import SSRU
from keras_transformer.layers.relative_choice import get_relative_positions
from keras_transformer.layers.serialization import get_activation
from keras_transformer.ops.cache import KVCache, PositionedKVCache
from keras_transformer.ops.masks import first_mask, target_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class DecoderBlock(Layer):
    r"""Causal self-attention, attention to an encoded source, and a feed-forward network.

    Post-LN, as in the paper and GPT-1: $x = \text{LayerNorm}(x + \text{Dropout}(f(x)))$.
    Pre-LN (`normalize_first`, GPT-2): $x = x + \text{Dropout}(f(\text{LayerNorm}(x)))$.

    Args:
        num_heads: number of attention heads.
        intermediate_dim: width of the feed-forward network.
        cross_attention: attend to an encoded source; False for language models.
        dropout: rate on the output of each sub-layer, before it is added.
        activation: of the feed-forward network.
        normalize_first: pre-LN instead of post-LN.
        layer_norm_epsilon: epsilon of the layer norms.
        attention_dropout: rate on the attention weights.
        activation_dropout: rate inside the feed-forward network.
        num_key_value_heads: fewer key/value heads than query heads, see `MultiHeadAttention`.
        use_attention_bias: whether the attention projections have biases.
        rotary: rotary positions in the self-attention.
        causal: each position sees only itself and what came before it.
        kernel_initializer: initializer of all kernels; by default Glorot's uniform one, in the
            attention as `MultiHeadAttention` says.
        bias_initializer: initializer of all biases.
        recurrence: "ssru" for the recurrent unit `SSRU` in place of the self-attention, as in
            Marian's fast students; None for self-attention.
        relative_positions: "shaw", "t5" or "alibi", see `MultiHeadSelfAttention`.
        window: how far the self-attention sees, see `MultiHeadSelfAttention`.
        gated: a gated feed-forward network, see `FeedForward`.

    Raises:
        ValueError: `encoded` is missing with `cross_attention`, or given without; `recurrence`
            with rotary or relative positions or a window, without `causal`, or with an attention
            mask.

    Example:
        >>> import keras, keras_transformer as kt
        >>> block = kt.layers.DecoderBlock(num_heads=2, intermediate_dim=32)
        >>> block(keras.ops.ones((2, 3, 8)), keras.ops.ones((2, 5, 8))).shape
        (2, 3, 8)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1; without cross-attention:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training".
    """

    def __init__(
        self,
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
        recurrence: str | None = None,
        relative_positions: Any = None,
        window: int | None = None,
        gated: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
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
        self.recurrence = recurrence
        self.relative_positions = get_relative_positions(relative_positions)
        self.window = window
        self.gated = gated
        self.supports_masking = True
        check_arguments(self)
        check_flag(cross_attention=cross_attention, causal=causal)
        self._check_recurrence()
        self._make_sublayers()

    def _check_recurrence(self):
        if self.recurrence not in (None, "ssru"):
            raise ValueError(
                f'`recurrence` must be None or "ssru". Received: recurrence={self.recurrence!r}.'
            )
        own = (self.rotary, self.relative_positions, self.window, self.causal)
        if self.recurrence is not None and own != (False, None, None, True):
            raise ValueError(
                "`recurrence` has its own order of time: it needs `rotary=False`, "
                "`relative_positions=None`, `window=None` and `causal=True`. Received: "
                f"rotary={self.rotary}, relative_positions={self.relative_positions!r}, "
                f"window={self.window}, causal={self.causal}."
            )

    def _make_sublayers(self):
        self.self_attention: Any = None
        self.ssru: Any = None
        if self.recurrence is None:
            self.self_attention = make_self_attention(self, self.causal)
        else:
            self.ssru = SSRU(name="ssru", **common_arguments(self))
        # Of whichever of the two there is.
        self.self_attention_norm = make_norm(self, f"{self.recurrence or 'self_attention'}_norm")
        self.source_attention: Any = None
        self.source_attention_norm: Any = None
        if self.cross_attention:
            self.source_attention = MultiHeadAttention(
                name="cross_attention", **head_arguments(self)
            )
            self.source_attention_norm = make_norm(self, "cross_attention_norm")
        self.feed_forward = make_feed_forward(self)
        self.feed_forward_norm = make_norm(self, "feed_forward_norm")
        self.residual_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="residual_dropout"
        )

    def build(self, inputs_shape: tuple, encoded_shape: tuple | None = None) -> None:
        (self.self_attention or self.ssru).build(inputs_shape)
        self.self_attention_norm.build(inputs_shape)
        if self.cross_attention:
            self.source_attention.build(inputs_shape, encoded_shape)
            self.source_attention_norm.build(inputs_shape)
        self.feed_forward.build(inputs_shape)
        self.feed_forward_norm.build(inputs_shape)

    def compute_output_shape(
        self, inputs_shape: tuple, encoded_shape: tuple | None = None
    ) -> tuple:
        return inputs_shape

    def initial_cache(self, batch_size: int, length: int) -> Any:
        """Makes what a first cached call starts from.

        Args:
            batch_size: B.
            length: L, the number of slots.

        Returns:
            Zeros (B, K, L, H), with positions where distances count, or the state (B, D) of the
            recurrent unit.
        """
        return (self.self_attention or self.ssru).initial_cache(batch_size, length)

    def call(
        self,
        inputs: Tensor,
        encoded: Tensor | None = None,
        padding_mask: Tensor | None = None,
        encoded_padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | PositionedKVCache | None = None,
        cross_cache: KVCache | None = None,
        cache_index: Tensor | int | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
        encoded_mask: Tensor | None = None,
    ) -> Any:
        """Runs the block.

        Args:
            inputs: (B, T, D).
            encoded: (B, S, D'), the encoded source.
            padding_mask: boolean (B, T), True where a target token is real; with a cache (B, L).
            encoded_padding_mask: boolean (B, S), True where a source token is real.
            attention_mask: boolean (T, T), (B, T, T) or (B, N, T, T), True = may attend, beside
                the causal mask.
            positions: int (T,) or (B, T), where each token stands.
            cache: as `initial_cache` makes it: the self-attention's keys and values, each
                (B, K, L, H), or the recurrent unit's state.
            cross_cache: the keys and values of `encoded`, in its place.
            cache_index: first slot of the cache that `inputs` fills; by default 0.
            return_attention_scores: also return the attention weights.
            training: whether dropout is active.
            mask: the implicit Keras mask of `inputs`; Keras passes it.
            inputs_mask: as `mask`.
            encoded_mask: the implicit Keras mask of `encoded`; Keras passes it.

        Returns:
            (B, T, D); or a dict of `output` and what was asked for: `cache` where one was given,
            `attention_scores` (B, N, T, T or L) and `cross_attention_scores` (B, N, T, S).
        """
        check_hidden("inputs", inputs)
        self._check_source(encoded, cross_cache)
        extras: dict[str, Any] = {}
        x = self.self_attention_norm(inputs) if self.normalize_first else inputs
        result = self._look_back(
            x,
            attention_mask,
            padding_mask=target_mask(padding_mask, cache, mask, inputs_mask),
            cache=cache,
            cache_index=cache_index,
            positions=positions,
            return_attention_scores=return_attention_scores,
            training=training,
        )
        y = take_output(result, extras)
        x = self._add(inputs, y, self.self_attention_norm, training)
        if self.cross_attention:
            query = self.source_attention_norm(x) if self.normalize_first else x
            result = self.source_attention(
                query,
                encoded,
                padding_mask=first_mask(encoded_padding_mask, encoded_mask),
                cache=cross_cache,
                return_attention_scores=return_attention_scores,
                training=training,
            )
            y = take_output(result, extras, prefix="cross_")
            x = self._add(x, y, self.source_attention_norm, training)
        y = self.feed_forward_norm(x) if self.normalize_first else x
        y = self.feed_forward(y, training=training)
        x = self._add(x, y, self.feed_forward_norm, training)
        return make_output(x, extras)

    def _look_back(self, x, attention_mask, padding_mask, cache, cache_index, **more):
        """The sub-layer over the tokens so far."""
        common = {"padding_mask": padding_mask, "cache": cache, "cache_index": cache_index}
        if self.ssru is None:
            return self.self_attention(x, attention_mask=attention_mask, **common, **more)
        if attention_mask is not None:
            raise ValueError(
                "`attention_mask` must be None with a recurrent unit, which sees all that came "
                f"before. Received: a mask of shape {tuple(attention_mask.shape)}."
            )
        return self.ssru(x, **common)

    def _add(self, x, y, norm, training):
        x = x + self.residual_dropout(y, training=training)
        return x if self.normalize_first else norm(x)

    def _check_source(self, encoded, cross_cache):
        has_source = encoded is not None or cross_cache is not None
        if has_source != self.cross_attention:
            raise ValueError(
                "`encoded` must be given with `cross_attention=True` and only then. Received: "
                f"cross_attention={self.cross_attention}, "
                f"encoded={'given' if has_source else None}."
            )
