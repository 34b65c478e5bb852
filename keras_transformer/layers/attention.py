"""Multi-head attention over another sequence.

Shape letters: B batch, T query length, S key length, N heads, K key/value heads, H head size,
D hidden.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import (
    check_above,
    check_choice,
    check_flag,
    check_positive,
    check_rate,
    given,
)
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.norms import NORMS, make_norm
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.serialization import clone_initializer
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.ops.cache import KVCache, as_cache
from keras_transformer.ops.masks import combine_masks, first_mask
from keras_transformer.ops.scaled_dot_product import IMPLEMENTATIONS, dot_product_attention

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class MultiHeadAttention(Layer):
    r"""Multi-head attention of one sequence over another.

    $\text{head}_n = \text{softmax}(Q_n K_n^\top / \sqrt{H}) V_n$ with $Q = x W^Q$, $K = y W^K$,
    $V = y W^V$; the output is $[\text{head}_1; \dots; \text{head}_N] W^O$.

    Args:
        num_heads: N, the number of query heads.
        head_dim: H, the size of a head; by default D / N, which must be an integer.
        num_key_value_heads: K, the number of key/value heads; by default N. With fewer, each serves
            a group of query heads (grouped-query attention; multi-query attention with 1).
        dropout: Dropout rate of the attention weights.
        use_bias: Whether the four projections have biases (tensor2tensor's have none).
        kernel_initializer: Initializer of the projections. The default is Glorot uniform, with
            query, key and value treated as one joint matrix: the bound is about sqrt(2) smaller
            than for three separate ones, and the Transformer learns faster.
        bias_initializer: Initializer of the biases.
        use_output_bias: Whether the output projection has a bias; defaults to `use_bias`.
        attention_scale: Factor by which to multiply the scores; by default 1 / sqrt(H).
        query_key_norm: "layer" or "rms" to normalize queries and keys over H, with weights shared
            by all heads; None for no normalization.
        layer_norm_epsilon: Epsilon of these norms.
        implementation: How to compute the attention, see `kt.ops.dot_product_attention`. Calls that
            return attention weights always compute all scores.

    Raises:
        ValueError: If an argument is out of range, `num_heads` does not divide the hidden size, or
            a mask has the wrong rank or dtype.

    Example:
        >>> import keras, keras_transformer as kt
        >>> attention = kt.layers.MultiHeadAttention(num_heads=2)
        >>> attention(keras.ops.ones((2, 3, 8)), keras.ops.ones((2, 5, 8))).shape
        (2, 3, 8)

    See Also:
        `kt.layers.MultiHeadSelfAttention` attends within one sequence; `kt.layers.DecoderBlock`
        contains both; `kt.ops.dot_product_attention` is the function that computes them.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2; Shazeer 2019, "Fast
        Transformer Decoding"; Ainslie et al. 2023, "GQA"; norms: Henry et al. 2020, "Query-Key
        Normalization for Transformers".
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        num_key_value_heads: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        kernel_initializer: Any = None,
        bias_initializer: Any = "zeros",
        *,
        use_output_bias: bool | None = None,
        attention_scale: float | None = None,
        query_key_norm: str | None = None,
        layer_norm_epsilon: float = 1e-6,
        implementation: str = "auto",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_positive(num_heads=num_heads)
        check_rate(dropout=dropout)
        check_flag(use_bias=use_bias)
        check_above(0, layer_norm_epsilon=layer_norm_epsilon)
        check_flag(**given(use_output_bias=use_output_bias))
        check_above(0, **given(attention_scale=attention_scale))
        check_choice(NORMS, **given(query_key_norm=query_key_norm))
        check_choice(IMPLEMENTATIONS, implementation=implementation)
        check_positive(**given(head_dim=head_dim))
        if num_key_value_heads is not None:
            check_positive(num_key_value_heads=num_key_value_heads)
            if num_heads % num_key_value_heads:
                raise ValueError(
                    "`num_key_value_heads` must divide `num_heads`. Received: "
                    f"num_key_value_heads={num_key_value_heads}, num_heads={num_heads}."
                )
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.num_key_value_heads = num_key_value_heads
        self.dropout = dropout
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.use_output_bias = use_output_bias
        self.attention_scale = attention_scale
        self.query_key_norm = query_key_norm
        self.layer_norm_epsilon = layer_norm_epsilon
        self.implementation = implementation
        self.seed_generator = keras.random.SeedGenerator() if dropout > 0.0 else None
        self.supports_masking = True

    def build(self, query_shape: tuple, key_value_shape: tuple | None = None) -> None:
        hidden_dim = query_shape[-1]
        if self.head_dim is None and hidden_dim % self.num_heads:
            raise ValueError(
                "`num_heads` must divide `hidden_dim`. Received: "
                f"num_heads={self.num_heads}, hidden_dim={hidden_dim}."
            )
        self.head_size = self.head_dim or hidden_dim // self.num_heads
        self.num_kv_heads = self.num_key_value_heads or self.num_heads
        source_dim = hidden_dim if key_value_shape is None else key_value_shape[-1]
        query_dim = self.num_heads * self.head_size
        key_dim = self.num_kv_heads * self.head_size
        joint_dim = query_dim + 2 * key_dim
        self.query_dense = self._dense(hidden_dim, query_dim, "query", joint_dim)
        self.key_dense = self._dense(source_dim, key_dim, "key", joint_dim)
        self.value_dense = self._dense(source_dim, key_dim, "value", joint_dim)
        output_bias = self.use_bias if self.use_output_bias is None else self.use_output_bias
        self.output_dense = self._dense(query_dim, hidden_dim, "output", hidden_dim, output_bias)
        self.query_norm = self._make_norm("query_norm")
        self.key_norm = self._make_norm("key_norm")

    def _make_norm(self, name):
        if self.query_key_norm is None:
            return None
        norm = make_norm(
            self.query_key_norm, self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )
        norm.build((None, None, None, self.head_size))
        return norm

    def _dense(self, inputs, units, name, fan_out, use_bias=None):
        initializer = clone_initializer(self.kernel_initializer)
        if initializer is None:
            limit = math.sqrt(6.0 / (inputs + fan_out))
            initializer = keras.initializers.RandomUniform(-limit, limit)
        dense = keras.layers.Dense(
            units,
            use_bias=self.use_bias if use_bias is None else use_bias,
            kernel_initializer=initializer,
            bias_initializer=clone_initializer(self.bias_initializer),
            dtype=self.dtype_policy,
            name=name,
        )
        dense.build((None, inputs))
        return dense

    def call(
        self,
        query: Tensor,
        key_value: Tensor | None = None,
        padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: KVCache | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        key_value_mask: Tensor | None = None,
    ) -> Any:
        """Attends to another sequence.

        Args:
            query: (B, T, D).
            key_value: (B, S, D'), the sequence to attend to; not needed with a `cache`.
            padding_mask: Boolean (B, S), True for real tokens of `key_value`.
            attention_mask: Boolean (T, S), (B, T, S) or (B, N, T, S), True if a query may attend.
            cache: The result of `make_cache` for `key_value`. B may be a multiple of its number of
                rows: consecutive queries, such as the hypotheses of one source, then share a row.
            return_attention_scores: Whether to also return the attention weights.
            training: Whether dropout is active.
            key_value_mask: Implicit Keras mask of `key_value`, passed by Keras.

        Returns:
            (B, T, D), or `{"output": ..., "attention_scores": (B, N, T, S)}`.
        """
        heads = self.project_query(query)
        mask = combine_masks(first_mask(padding_mask, key_value_mask), attention_mask)
        if cache is None:
            if key_value is None:
                raise ValueError("`key_value` or `cache` must be given. Received: neither.")
            key, value = self.project_key_value(key_value)
            return self.attend(heads, key, value, mask, return_attention_scores, training=training)
        # Queries are independent, so rows that share keys and values are merged into one longer row
        # instead of repeating the keys and values.
        rows = ops.shape(cache.key)[0]
        heads = ops.reshape(heads, (rows, -1, self.num_heads, self.head_size))
        result = self.attend(
            heads, *cache, mask, return_attention_scores, training=training, heads_first=True
        )
        extras: dict[str, Any] = {}
        output = ops.reshape(take_output(result, extras), ops.shape(query))
        if extras:
            extras["attention_scores"] = _ungroup(extras["attention_scores"], ops.shape(query))
        return make_output(output, extras)

    def compute_output_shape(
        self, query_shape: tuple, key_value_shape: tuple | None = None
    ) -> tuple:
        return query_shape

    def project_query(self, query: Tensor) -> Tensor:
        """Projects (B, T, D) to query heads (B, T, N, H)."""
        check_hidden("query", query)
        heads = self._split_heads(self.query_dense, query, self.num_heads)
        return heads if self.query_norm is None else self.query_norm(heads)

    def project_key_value(self, key_value: Tensor) -> tuple[Tensor, Tensor]:
        """Projects (B, S, D') to keys and values, each (B, S, K, H)."""
        check_hidden("key_value", key_value)
        key = self._split_heads(self.key_dense, key_value, self.num_kv_heads)
        value = self._split_heads(self.value_dense, key_value, self.num_kv_heads)
        return key if self.key_norm is None else self.key_norm(key), value

    def make_cache(self, key_value: Tensor) -> KVCache:
        """Projects (B, S, D') to cached keys and values, each (B, K, S, H)."""
        return as_cache(*self.project_key_value(key_value))

    def _split_heads(self, dense, x, num_heads):
        # Flattened to (B * T, D): gradients of products over two contracted axes are slow.
        flat = dense(ops.reshape(x, (-1, x.shape[-1])))
        return ops.reshape(flat, (*ops.shape(x)[:2], num_heads, self.head_size))

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        return_attention_scores: bool = False,
        causal: bool = False,
        training: bool | None = None,
        heads_first: bool = False,
        bias: Tensor | None = None,
        window: int | None = None,
    ) -> Any:
        """Attends with projected heads, then applies the output projection.

        Args:
            query: (B, T, N, H).
            key: (B, S, K, H).
            value: (B, S, K, H).
            mask: Boolean, broadcastable to (B, N, T, S).
            return_attention_scores: Whether to also return the attention weights.
            causal: Whether query `i` sees only keys `0 .. i`.
            training: Whether dropout is active.
            heads_first: Whether `key` and `value` are (B, K, S, H), as in a cache.
            bias: Float, broadcastable to (B, N, T, S), added to the scaled scores.
            window: Query `i` sees only keys at distances below `window`; None for no limit.

        Returns:
            As for `call`.
        """
        result = dot_product_attention(
            query,
            key,
            value,
            mask=mask,
            bias=bias,
            causal=causal,
            window=window,
            dropout=self.dropout if training else 0.0,
            implementation="dense" if return_attention_scores else self.implementation,
            scale=self.attention_scale,
            seed=self.seed_generator,
            return_attention_scores=return_attention_scores,
            heads_first=heads_first,
        )
        extras: dict[str, Any] = {}
        heads = take_output(result, extras)  # (B, T, N, H)
        batch, length = ops.shape(heads)[:2]
        flat = self.output_dense(ops.reshape(heads, (-1, self.num_heads * self.head_size)))
        flat = ops.cast(flat, self.compute_dtype)  # on torch, Keras computes float64 in float32
        return make_output(ops.reshape(flat, (batch, length, flat.shape[-1])), extras)


def _ungroup(scores, query_shape):
    """Splits the scores (B, N, R / B * T, S) of merged rows into (R, N, T, S)."""
    batch, num_heads, _, source_length = ops.shape(scores)
    rows, length = query_shape[:2]
    scores = ops.reshape(scores, (batch, num_heads, -1, length, source_length))
    scores = ops.transpose(scores, (0, 2, 1, 3, 4))
    return ops.reshape(scores, (rows, num_heads, length, source_length))
