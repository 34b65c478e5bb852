"""Multi-head self-attention.

Shape letters: B batch, T query length, S key length, N heads, K key/value heads, H head size,
D hidden.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_flag
from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.position_arguments import (
    get_relative_positions,
    get_rotary,
    make_relative_positions,
    make_rotary,
)
from keras_transformer.layers.shape_checks import check_window
from keras_transformer.ops.cache import KVCache, PositionedKVCache, init_cache, update_cache
from keras_transformer.ops.masks import causal_mask, combine_masks, target_mask, window_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class MultiHeadSelfAttention(Layer):
    """Multi-head self-attention: `MultiHeadAttention` with query, key and value from one input.

    Args:
        num_heads: N, the number of query heads.
        head_dim: H, the size of a head; by default D / N, which must be an integer.
        num_key_value_heads: K, the number of key/value heads; by default N. With fewer, each serves
            a group of query heads.
        causal: Whether to apply the causal mask, which hides future positions.
        dropout: Dropout rate of the attention weights.
        use_bias: Whether the four projections have biases.
        rotary: Rotary position embedding of queries and keys: True, a `RotaryEmbedding`, or a dict
            of its arguments; False for none.
        kernel_initializer: Initializer of the projections; by default as in `MultiHeadAttention`.
        bias_initializer: Initializer of the biases.
        relative_positions: Position-dependent term of the scores: "shaw" for
            `RelativePositionKeys`, "t5" for `RelativePositionBias`, "alibi" for
            `LinearPositionBias`, a layer (each attention layer uses a copy), or None.
        window: Local (banded) attention: tokens attend only at distances below `window`. From
            T = 2,048 on, time and memory are linear in T (not on torch). None for no limit.
        use_output_bias: Whether the output projection has a bias; defaults to `use_bias`.
        attention_scale: Factor by which to multiply the scores; by default 1 / sqrt(H).
        query_key_norm: "layer" or "rms" to normalize queries and keys, see `MultiHeadAttention`.
        layer_norm_epsilon: Epsilon of these norms.
        implementation: How to compute the attention, see `MultiHeadAttention`.

    Raises:
        ValueError: If `num_heads` does not divide the hidden size, a mask has the wrong rank or
            dtype, `relative_positions` is unknown, or `window` is below 1.

    Example:
        >>> import keras, keras_transformer as kt
        >>> attention = kt.layers.MultiHeadSelfAttention(num_heads=2, causal=True)
        >>> attention(keras.ops.ones((2, 3, 8))).shape
        (2, 3, 8)

    See Also:
        `kt.layers.MultiHeadAttention` attends to another sequence;
        `kt.layers.TransformerEncoderBlock` and `kt.layers.DecoderBlock` are blocks around it;
        `kt.ops.dot_product_attention` is the function that computes it.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.3; windows: Child et al. 2019,
        "Generating Long Sequences with Sparse Transformers", and Parmar et al. 2018, "Image
        Transformer", section 3.3.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        num_key_value_heads: int | None = None,
        causal: bool = False,
        dropout: float = 0.0,
        use_bias: bool = True,
        rotary: Any = False,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        relative_positions: Any = None,
        window: int | None = None,
        *,
        use_output_bias: bool | None = None,
        attention_scale: float | None = None,
        query_key_norm: str | None = None,
        layer_norm_epsilon: float = 1e-6,
        implementation: str = "auto",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_flag(causal=causal)
        check_window(window)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.num_key_value_heads = num_key_value_heads
        self.causal = causal
        self.dropout = dropout
        self.use_bias = use_bias
        self.rotary = get_rotary(rotary)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.relative_positions = get_relative_positions(relative_positions)
        self.window = window
        self.use_output_bias = use_output_bias
        self.attention_scale = attention_scale
        self.query_key_norm = query_key_norm
        self.layer_norm_epsilon = layer_norm_epsilon
        self.implementation = implementation
        self.supports_masking = True
        self.attention = MultiHeadAttention(
            num_heads,
            head_dim,
            num_key_value_heads,
            dropout,
            use_bias,
            self.kernel_initializer,
            self.bias_initializer,
            use_output_bias=use_output_bias,
            attention_scale=attention_scale,
            query_key_norm=query_key_norm,
            layer_norm_epsilon=layer_norm_epsilon,
            implementation=implementation,
            dtype=self.dtype_policy,
            name="attention",
        )
        self.rotary_embedding: Any = make_rotary(self.rotary, self.dtype_policy)
        self.position_bias = make_relative_positions(
            self.relative_positions, causal, self.dtype_policy
        )

    def build(self, inputs_shape: tuple) -> None:
        self.attention.build(inputs_shape)
        if self.rotary_embedding is not None:
            self.rotary_embedding.build((None, None, self.num_heads, self.attention.head_size))
        # One that a stack shares is built by its first block.
        if self.position_bias is not None and not self.position_bias.built:
            self.position_bias.build((None, None, self.num_heads, self.attention.head_size))

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    @property
    def counts_distances(self) -> bool:
        """Whether the cache must contain the positions of its keys."""
        return self.position_bias is not None or self.window is not None

    def initial_cache(self, batch_size: int, length: int) -> KVCache | PositionedKVCache:
        """Creates the cache for the first cached call.

        Args:
            batch_size: B.
            length: S, the number of slots.

        Returns:
            Zeros (B, K, S, H), with positions if `counts_distances`.
        """
        return init_cache(
            batch_size,
            length,
            self.attention.num_kv_heads,
            self.attention.head_size,
            self.compute_dtype,
            positioned=self.counts_distances,
        )

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | PositionedKVCache | None = None,
        cache_index: Tensor | int | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Any:
        """Attends to the sequence itself and, with a cache, to earlier tokens.

        Args:
            inputs: (B, T, D).
            padding_mask: Boolean (B, T), True for real tokens; with a cache (B, S), over all slots.
            attention_mask: Boolean (T, S), (B, T, S) or (B, N, T, S), True if a query may attend.
            positions: Int (T,) or (B, T), the position of each token, for rotary and relative
                positions and windows; by default they count up from `cache_index`.
            cache: A cache from `initial_cache` or an earlier call, with room from slot
                `cache_index` on.
            cache_index: First cache slot that `inputs` fills; by default 0.
            return_attention_scores: Whether to also return the attention weights.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.

        Returns:
            (B, T, D), or a dict of `output` and, as requested, the updated `cache` and
            `attention_scores` (B, N, T, S).
        """
        padding_mask = target_mask(padding_mask, cache, mask, inputs_mask)
        cache_index = 0 if cache_index is None else cache_index
        query = self.attention.project_query(inputs)
        key, value = self.attention.project_key_value(inputs)
        if self.rotary_embedding is not None:
            query, key = self._rotate(query, key, positions, cache_index)
        if cache is not None:
            step = {"return_attention_scores": return_attention_scores, "training": training}
            heads = query, key, value
            return self._go_on(
                heads, cache, cache_index, positions, padding_mask, attention_mask, step
            )
        # Without positions, the window is over indices, so whole blocks can be skipped.
        near = None if positions is None else self._near(positions, positions)
        return self.attention.attend(
            query,
            key,
            value,
            combine_masks(padding_mask, attention_mask, window=near),
            return_attention_scores,
            causal=self.causal,
            training=training,
            bias=self._bias(query, positions),
            window=self.window if positions is None else None,
        )

    def _go_on(self, heads, cache, cache_index, positions, padding_mask, attention_mask, step):
        """Adds the new keys to the cache and attends to all of it."""
        query, key, value = heads
        key_positions = None
        length, slots = ops.shape(query)[1], ops.shape(cache.key)[2]
        if positions is None:
            positions = ops.arange(length, dtype="int32") + cache_index
        cache = update_cache(cache, key, value, cache_index, positions)
        if self.counts_distances:
            if not isinstance(cache, PositionedKVCache):
                raise ValueError(
                    "`cache` must contain positions, like those from `initial_cache`, for relative "
                    f"positions and windows. Received: cache of type {type(cache).__name__}."
                )
            key_positions = cache.positions[:, 0, :, 0]  # (B, S)
        # Slots after the last one written are empty and must be masked even without `causal`.
        offset = cache_index if self.causal else cache_index + length - 1
        written = causal_mask(length if self.causal else 1, slots, offset)
        near = self._near(positions, key_positions)
        result = self.attention.attend(
            query,
            cache.key,
            cache.value,
            combine_masks(padding_mask, attention_mask, written, near),
            heads_first=True,
            bias=self._bias(query, positions, key_positions),
            **step,
        )
        extras = {"cache": cache}
        output = take_output(result, extras)
        return make_output(output, extras)

    def _bias(self, query, positions, key_positions=None):
        if self.position_bias is None:
            return None
        return self.position_bias(query, positions, key_positions)

    def _near(self, positions, key_positions):
        """The mask of the window, or None without one."""
        if self.window is None:
            return None
        return window_mask(positions, key_positions, self.window)

    def _rotate(self, query, key, positions, cache_index):
        if positions is None:
            positions = ops.arange(ops.shape(query)[1], dtype="int32") + cache_index
        return self.rotary_embedding(query, positions), self.rotary_embedding(key, positions)
