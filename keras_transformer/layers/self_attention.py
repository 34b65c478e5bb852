"""Multi-head attention of a sequence over itself.

Shape letters: B batch, T query length, S key length, N heads, K key/value heads, H head size,
D hidden.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.positional import RotaryEmbedding
from keras_transformer.layers.serialization import constructor_config
from keras_transformer.ops.cache import KVCache, update_cache
from keras_transformer.ops.masks import causal_mask, combine_masks, target_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class MultiHeadSelfAttention(keras.layers.Layer):
    """Lets each position of a sequence attend to the sequence itself.

    As `MultiHeadAttention` with query, key and value from one input.

    Args:
        num_heads: N, the number of query heads.
        head_dim: H, by default D / N, which must be whole.
        num_key_value_heads: K, by default N; fewer are shared by groups of query heads.
        causal: each position sees only itself and what came before it.
        dropout: rate at which attention weights are dropped in training.
        use_bias: whether the four projections have biases.
        rotary: rotate queries and keys by their positions (`RotaryEmbedding`).
        kernel_initializer: initializer of the projections; the default is `MultiHeadAttention`'s.
        bias_initializer: initializer of the biases.

    Raises:
        ValueError: heads that do not divide the width, or masks of the wrong rank or dtype.

    Example:
        >>> import keras, keras_transformer as kt
        >>> attention = kt.layers.MultiHeadSelfAttention(num_heads=2, causal=True)
        >>> attention(keras.ops.ones((2, 3, 8))).shape
        (2, 3, 8)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.3.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        num_key_value_heads: int | None = None,
        causal: bool = False,
        dropout: float = 0.0,
        use_bias: bool = True,
        rotary: bool = False,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.num_key_value_heads = num_key_value_heads
        self.causal = causal
        self.dropout = dropout
        self.use_bias = use_bias
        self.rotary = rotary
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.supports_masking = True
        self.attention = MultiHeadAttention(
            num_heads,
            head_dim,
            num_key_value_heads,
            dropout,
            use_bias,
            self.kernel_initializer,
            self.bias_initializer,
            dtype=self.dtype_policy,
            name="attention",
        )
        self.rotary_embedding = (
            RotaryEmbedding(dtype=self.dtype_policy, name="rotary") if rotary else None
        )

    def build(self, inputs_shape: tuple) -> None:
        self.attention.build(inputs_shape)
        if self.rotary_embedding is not None:
            self.rotary_embedding.build((None, None, self.num_heads, self.attention.head_size))

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        cache_index: Tensor | int | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Any:
        """Attends to the sequence itself, and to a cache of what came before it.

        Args:
            inputs: (B, T, D).
            padding_mask: boolean (B, T), True where a token is real; with a cache (B, S), for all
                of its slots.
            attention_mask: boolean (T, S), (B, T, S) or (B, N, T, S), True = may attend.
            positions: int (T,) or (B, T), where each token stands, for rotary positions; by default
                `cache_index` and on.
            cache: keys and values, each (B, K, S, H), with room from slot `cache_index` on.
            cache_index: first slot that `inputs` fills; by default 0.
            return_attention_scores: also return the attention weights.
            training: whether dropout is active.
            mask: the implicit Keras mask of `inputs`; Keras passes it.
            inputs_mask: as `mask`.

        Returns:
            (B, T, D); or a dict of `output` and what was asked for: `attention_scores`
            (B, N, T, S), `cache` the new one where one was given.
        """
        padding_mask = target_mask(padding_mask, cache, mask, inputs_mask)
        cache_index = 0 if cache_index is None else cache_index
        query = self.attention.project_query(inputs)
        key, value = self.attention.project_key_value(inputs)
        if self.rotary:
            query, key = self._rotate(query, key, positions, cache_index)
        if cache is None:
            combined = combine_masks(padding_mask, attention_mask)
            return self.attention.attend(
                query,
                key,
                value,
                combined,
                return_attention_scores,
                causal=self.causal,
                training=training,
            )
        cache = update_cache(cache, key, value, cache_index)
        # Slots after the last one written are empty: the mask hides them even without `causal`.
        length, slots = ops.shape(inputs)[1], ops.shape(cache.key)[2]
        offset = cache_index if self.causal else cache_index + length - 1
        written = causal_mask(length if self.causal else 1, slots, offset)
        combined = combine_masks(padding_mask, attention_mask, written)
        result = self.attention.attend(
            query,
            *cache,
            combined,
            return_attention_scores,
            training=training,
            heads_first=True,
        )
        extras = {"cache": cache}
        output = take_output(result, extras)
        return make_output(output, extras)

    def _rotate(self, query, key, positions, cache_index):
        if positions is None:
            positions = ops.arange(ops.shape(query)[1], dtype="int32") + cache_index
        return self.rotary_embedding(query, positions), self.rotary_embedding(key, positions)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **constructor_config(self)}
