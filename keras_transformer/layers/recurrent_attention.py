"""The attention mechanisms of recurrent encoder-decoders: Luong's and Bahdanau's.

Shape letters: B batch, R query rows (B, or a multiple of it), T query length, S key length,
D width of the queries, E width of the keys, A width of the scores.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_choice, check_positive, given
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.ops.attention_softmax import softmax_over_keys
from keras_transformer.ops.cache import KVCache, as_cache
from keras_transformer.ops.masks import combine_masks, first_mask, real_tokens
from keras_transformer.ops.scaled_dot_product import dot_product_attention
from keras_transformer.recording import report

Tensor = Any

SCORES = ("general", "dot")


@keras.saving.register_keras_serializable(package="keras_transformer")
class LuongAttention(Layer):
    r"""Multiplicative attention: $c_t = \sum_s a_t(s) \bar h_s$.

    $a_t = \text{softmax}_s(\text{score}(h_t, \bar h_s))$ with $\text{score} = h_t^\top W \bar h_s$
    ("general") or $h_t^\top \bar h_s$ ("dot").

    Args:
        score: "general" or "dot"; the latter requires queries and keys of the same width.

    Raises:
        ValueError: If `score` is unknown, or "dot" with queries and keys of different widths.

    Example:
        >>> import keras, keras_transformer as kt
        >>> attention = kt.layers.LuongAttention()
        >>> attention(keras.ops.ones((2, 3, 8)), keras.ops.ones((2, 5, 16))).shape
        (2, 3, 16)

    Reference:
        Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation",
        section 3.1, equations 7 and 8.
    """

    def __init__(self, score: str = "general", **kwargs: Any):
        super().__init__(**kwargs)
        check_choice(SCORES, score=score)
        self.score = score
        self.supports_masking = True

    def build(self, query_shape: tuple, key_value_shape: tuple | None = None) -> None:
        self.query_dim = query_dim = query_shape[-1]
        source_dim = query_dim if key_value_shape is None else key_value_shape[-1]
        self.key_dense = None
        if self.score == "general":
            self.key_dense = keras.layers.Dense(
                query_dim, use_bias=False, dtype=self.dtype_policy, name="key"
            )
            self.key_dense.build((None, source_dim))
        elif query_dim != source_dim:
            raise ValueError(
                '`query` and `key_value` must have the same width with `score="dot"`. Received: '
                f"query={query_dim}, key_value={source_dim}."
            )

    def compute_output_shape(
        self, query_shape: tuple, key_value_shape: tuple | None = None
    ) -> tuple:
        return (*query_shape[:-1], (key_value_shape or query_shape)[-1])

    def make_cache(self, key_value: Tensor) -> KVCache:
        """Computes the keys (B, 1, S, D) and values (B, 1, S, E) of a sequence (B, S, E)."""
        check_hidden("key_value", key_value)
        keys = key_value if self.key_dense is None else self.key_dense(key_value)
        # On torch, Keras computes float64 products in float32.
        keys = ops.cast(keys, key_value.dtype)
        return as_cache(keys[:, :, None], key_value[:, :, None])

    def call(
        self,
        query: Tensor,
        key_value: Tensor | None = None,
        padding_mask: Tensor | None = None,
        cache: KVCache | None = None,
        return_attention_scores: bool = False,
        key_value_mask: Tensor | None = None,
    ) -> Any:
        """Attends to another sequence.

        Args:
            query: (R, T, D).
            key_value: (B, S, E); not needed with a `cache`.
            padding_mask: Boolean (B, S), True for real tokens of `key_value`.
            cache: The result of `make_cache` for `key_value`. R may be a multiple of its B rows:
                consecutive queries, such as the hypotheses of one source, then share a row.
            return_attention_scores: Whether to also return the attention weights.
            key_value_mask: Implicit Keras mask of `key_value`, passed by Keras.

        Returns:
            The context (R, T, E), or `{"output": ..., "attention_scores": (R, 1, T, S)}`.
        """
        cache = _cache_of(self, key_value, cache)
        grouped = _group(query, cache, self.query_dim)  # (B, R / B * T, D)
        result = dot_product_attention(
            grouped[:, :, None],
            cache.key,
            cache.value,
            mask=combine_masks(first_mask(padding_mask, key_value_mask)),
            scale=1.0,
            implementation="dense",
            return_attention_scores=return_attention_scores,
            heads_first=True,
        )
        extras: dict[str, Any] = {}
        context = take_output(result, extras)[:, :, 0]
        return _ungroup(context, extras.get("attention_scores"), query)


@keras.saving.register_keras_serializable(package="keras_transformer")
class BahdanauAttention(Layer):
    r"""Additive attention: $c_t = \sum_s a_t(s) \bar h_s$.

    $a_t = \text{softmax}_s(v^\top \tanh(W h_t + U \bar h_s))$: a small network scores each pair.

    Args:
        units: A, the width of the scoring network; None for the width of the queries.

    Raises:
        ValueError: If `units` is not a positive integer.

    Example:
        >>> import keras, keras_transformer as kt
        >>> attention = kt.layers.BahdanauAttention()
        >>> attention(keras.ops.ones((2, 3, 8)), keras.ops.ones((2, 5, 16))).shape
        (2, 3, 16)

    Reference:
        Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and
        Translate", section 3.1 and appendix A.1.2.
    """

    def __init__(self, units: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        check_positive(**given(units=units))
        self.units = units
        self.supports_masking = True

    def build(self, query_shape: tuple, key_value_shape: tuple | None = None) -> None:
        self.query_dim = query_shape[-1]
        source_dim = (key_value_shape or query_shape)[-1]
        units = self.units or query_shape[-1]
        self.query_dense = self._dense(query_shape[-1], units, "query")
        self.key_dense = self._dense(source_dim, units, "key", use_bias=True)
        self.score_dense = self._dense(units, 1, "score")

    def _dense(self, inputs, units, name, use_bias=False):
        dense = keras.layers.Dense(units, use_bias=use_bias, dtype=self.dtype_policy, name=name)
        dense.build((None, inputs))
        return dense

    def compute_output_shape(
        self, query_shape: tuple, key_value_shape: tuple | None = None
    ) -> tuple:
        return (*query_shape[:-1], (key_value_shape or query_shape)[-1])

    def make_cache(self, key_value: Tensor) -> KVCache:
        """Computes the keys (B, 1, S, A) and values (B, 1, S, E) of a sequence (B, S, E)."""
        check_hidden("key_value", key_value)
        return as_cache(self.key_dense(key_value)[:, :, None], key_value[:, :, None])

    def call(
        self,
        query: Tensor,
        key_value: Tensor | None = None,
        padding_mask: Tensor | None = None,
        cache: KVCache | None = None,
        return_attention_scores: bool = False,
        key_value_mask: Tensor | None = None,
    ) -> Any:
        """Attends to another sequence.

        Args:
            query: (R, T, D).
            key_value: (B, S, E); not needed with a `cache`.
            padding_mask: Boolean (B, S), True for real tokens of `key_value`.
            cache: The result of `make_cache` for `key_value`. R may be a multiple of its B rows:
                consecutive queries, such as the hypotheses of one source, then share a row.
            return_attention_scores: Whether to also return the attention weights.
            key_value_mask: Implicit Keras mask of `key_value`, passed by Keras.

        Returns:
            The context (R, T, E), or `{"output": ..., "attention_scores": (R, 1, T, S)}`.
        """
        cache = _cache_of(self, key_value, cache)
        queries = self.query_dense(_group(query, cache, self.query_dim))  # (B, R / B * T, A)
        hidden = ops.tanh(queries[:, :, None] + cache.key)  # (B, R / B * T, S, A)
        scores = ops.squeeze(self.score_dense(hidden), axis=-1)
        report("scores", scores[:, None])
        mask = real_tokens(padding_mask, key_value_mask)
        if mask is None:
            weights = softmax_over_keys(scores)
        else:
            real = mask[:, None]  # (B, 1, S)
            weights = ops.where(real, softmax_over_keys(scores, real), 0.0)
        report("weights", weights[:, None])
        context = ops.matmul(ops.cast(weights, cache.value.dtype), cache.value[:, 0])
        context = ops.cast(context, cache.value.dtype)  # see LuongAttention
        scores = weights[:, None] if return_attention_scores else None
        return _ungroup(context, scores, query)


ATTENTIONS = {"luong": LuongAttention, "bahdanau": BahdanauAttention}


def _cache_of(layer, key_value, cache):
    if cache is not None:
        return cache
    if key_value is None:
        raise ValueError("`key_value` or `cache` must be given. Received: neither.")
    return layer.make_cache(key_value)


def _group(query, cache, width):
    """Merges queries (R, T, D) that share keys and values into rows (B, R / B * T, D)."""
    check_hidden("query", query)
    # The width is an argument because TensorFlow does not know that of a state passed in.
    return ops.reshape(query, (ops.shape(cache.key)[0], -1, width))


def _ungroup(context, scores, query):
    rows, length = ops.shape(query)[:2]
    context = ops.reshape(context, (rows, length, context.shape[-1]))
    if scores is None:
        return context
    scores = ops.reshape(scores, (rows, 1, length, ops.shape(scores)[-1]))
    return make_output(context, {"attention_scores": scores})
