"""The decoder block.

Shape letters: B batch, T target length, S source length, L cache slots, N heads, D hidden.
"""

from __future__ import annotations

from typing import Any

import keras

from keras_transformer.checks import check_flag
from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.block import Block, check_source
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.layers.ssru import SSRU
from keras_transformer.ops.cache import KVCache, PositionedKVCache
from keras_transformer.ops.masks import first_mask, target_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class DecoderBlock(Block):
    r"""Decoder block: causal self-attention, cross-attention and a feed-forward network.

    Post-LN, as in the paper and GPT-1: $x = \text{LayerNorm}(x + \text{Dropout}(f(x)))$.
    Pre-LN (`normalize_first`, GPT-2): $x = x + \text{Dropout}(f(\text{LayerNorm}(x)))$.

    Args:
        num_heads: Number of attention heads.
        intermediate_dim: Width of the feed-forward network.
        cross_attention: Whether to attend to an encoded source; False for language models.
        dropout: Dropout rate on the output of each sublayer, before the residual is added.
        activation: Activation of the feed-forward network: a Keras activation or
            "gelu_approximate".
        normalize_first: Whether to use pre-LN instead of post-LN.
        layer_norm_epsilon: Epsilon of the norms.
        causal: Whether to apply the causal mask, which hides future positions.
        recurrence: "ssru" replaces the self-attention with the recurrent unit `SSRU`, as in
            Marian's fast student models; None for self-attention.
        **kwargs: Other arguments of `TransformerEncoderBlock`, such as `attention_dropout`,
            `num_key_value_heads`, `rotary`, `window` or `norm`, and those of `keras.layers.Layer`.

    Raises:
        ValueError: If an argument is out of range; if `encoded` is missing with `cross_attention`,
            or given without it; if `recurrence` is combined with rotary or relative positions, a
            window, `causal=False` or an attention mask.

    Example:
        >>> import keras, keras_transformer as kt
        >>> block = kt.layers.DecoderBlock(num_heads=2, intermediate_dim=32)
        >>> block(keras.ops.ones((2, 3, 8)), keras.ops.ones((2, 5, 8))).shape
        (2, 3, 8)

    See Also:
        `kt.layers.TransformerDecoder` stacks such blocks and keeps their caches;
        `kt.layers.TransformerEncoderBlock` is the block that sees both directions.

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
        causal: bool = True,
        recurrence: str | None = None,
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
        check_flag(cross_attention=cross_attention, causal=causal)
        self.cross_attention = cross_attention
        self.causal = causal
        self.recurrence = recurrence
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
                "`recurrence` requires `rotary=False`, `relative_positions=None`, `window=None` "
                f"and `causal=True`. Received: rotary={self.rotary}, "
                f"relative_positions={self.relative_positions!r}, window={self.window}, "
                f"causal={self.causal}."
            )

    def _make_sublayers(self):
        self.self_attention: Any = None
        self.ssru: Any = None
        if self.recurrence is None:
            self.self_attention = self._make_self_attention(self.causal)
        else:
            self.ssru = SSRU(name="ssru", **self._kernel_arguments())
        # Shared attribute: the norm of whichever of the two exists.
        self.self_attention_norm = self.make_norm(f"{self.recurrence or 'self_attention'}_norm")
        self.source_attention: Any = None
        self.source_attention_norm: Any = None
        if self.cross_attention:
            self.source_attention = MultiHeadAttention(
                name="cross_attention", **self._head_arguments()
            )
            self.source_attention_norm = self.make_norm("cross_attention_norm")
        self.feed_forward = self._make_feed_forward()
        self.feed_forward_norm = self.make_norm("feed_forward_norm")
        self.residual_dropout = self._make_residual_dropout()

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

    @property
    def shares_slots(self) -> bool:
        """Whether the cache holds one slot per position, see `kt.decoding.DecodingModel`."""
        return self.recurrence is None

    def make_cross_cache(self, encoded: Tensor) -> KVCache:
        """Projects an encoded source (B, S, D') to the keys and values of the cross-attention."""
        return self.source_attention.make_cache(encoded)

    def initial_cache(self, batch_size: int, length: int) -> Any:
        """Creates the cache for the first cached call.

        Args:
            batch_size: B.
            length: L, the number of slots.

        Returns:
            Zeros (B, K, L, H), with positions if the attention depends on them, or the state (B, D)
            of the recurrent unit.
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
            padding_mask: Boolean (B, T), True for real target tokens; with a cache (B, L).
            encoded_padding_mask: Boolean (B, S), True for real source tokens.
            attention_mask: Boolean (T, T), (B, T, T) or (B, N, T, T), True if a query may attend;
                combined with the causal mask.
            positions: Int (T,) or (B, T), the position of each token; by default they count up
                from `cache_index`.
            cache: A cache from `initial_cache` or an earlier call: the self-attention's keys and
                values, each (B, K, L, H), or the recurrent unit's state.
            cross_cache: The result of `make_cross_cache`, which replaces `encoded`.
            cache_index: First cache slot that `inputs` fills; by default 0.
            return_attention_scores: Whether to also return the attention weights.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.
            encoded_mask: Implicit Keras mask of `encoded`, passed by Keras.

        Returns:
            (B, T, D), or a dict of `output` and, as requested, the updated `cache`,
            `attention_scores` (B, N, T, T or L) and `cross_attention_scores` (B, N, T, S).
        """
        check_hidden("inputs", inputs)
        check_source(self.cross_attention, encoded is not None or cross_cache is not None)
        extras: dict[str, Any] = {}
        common = {"return_attention_scores": return_attention_scores, "training": training}

        def attend(x):
            hides = target_mask(padding_mask, cache, mask, inputs_mask)
            result = self._look_back(
                x, attention_mask, hides, cache, cache_index, positions=positions, **common
            )
            return take_output(result, extras)

        def attend_to_source(x):
            hides = first_mask(encoded_padding_mask, encoded_mask)
            result = self.source_attention(
                x, encoded, padding_mask=hides, cache=cross_cache, **common
            )
            return take_output(result, extras, prefix="cross_")

        def feed_forward(x):
            return self.feed_forward(x, training=training)

        x = self.residual(inputs, self.self_attention_norm, attend, training)
        if self.cross_attention:
            x = self.residual(x, self.source_attention_norm, attend_to_source, training)
        x = self.residual(x, self.feed_forward_norm, feed_forward, training)
        return make_output(x, extras)

    def _look_back(self, x, attention_mask, padding_mask, cache, cache_index, **more):
        """Runs the self-attention or the recurrent unit."""
        common = {"padding_mask": padding_mask, "cache": cache, "cache_index": cache_index}
        if self.ssru is None:
            return self.self_attention(x, attention_mask=attention_mask, **common, **more)
        if attention_mask is not None:
            raise ValueError(
                "`attention_mask` must be None with `recurrence`, which has no attention to mask. "
                f"Received: attention_mask of shape {tuple(attention_mask.shape)}."
            )
        return self.ssru(x, **common)
