"""Scaled dot-product attention, the one function behind every attention layer of the library.

Shape letters: B batch, T query length, S key length, N query heads, K key/value heads, H head size.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_choice
from keras_transformer.ops.arrays import to_tensors
from keras_transformer.ops.attention_softmax import lowest, softmax_over_keys
from keras_transformer.ops.blockwise import blockwise_attention
from keras_transformer.ops.dropout import dropout as drop
from keras_transformer.ops.jax_platform import jax_platform
from keras_transformer.ops.masks import causal_mask, join_masks, window_mask
from keras_transformer.recording import is_recording, report

Tensor = Any

# The length from which "auto" is blockwise: the scores of a single head would take 16 MB.
_MANY = 2048
_MANY_FOR_JAX = 1024  # on a CPU, where blocks are up to three times as fast from this length
IMPLEMENTATIONS = ("auto", "dense", "fused", "blockwise")


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    implementation: str = "auto",
    *,
    window: int | None = None,
    scale: float | None = None,
    seed: Any = None,
    return_attention_scores: bool = False,
    heads_first: bool = False,
) -> Tensor | dict[str, Tensor]:
    r"""Computes $\text{softmax}(s Q K^\top + \text{bias}) V$ under a mask.

    The softmax is computed in float32 whatever the inputs' dtype. A query that may not attend to
    any key outputs zeros.

    Args:
        query: (B, T, N, H).
        key: (B, S, K, H), where K divides N: query head `n` uses key head `n // (N // K)`.
        value: (B, S, K, H).
        mask: Boolean, broadcastable to (B, N, T, S), True = may attend.
        bias: Float, broadcastable to (B, N, T, S), added to the scaled scores.
        causal: Whether query `i` attends only to keys `0 .. i`. For queries that continue a cache,
            pass `causal_mask(T, S, offset)` as `mask` instead.
        dropout: Dropout rate of the attention weights; 0 outside training.
        implementation: "dense" computes all scores; "fused" calls the backend's kernel (on
            TensorFlow, which has none, and on TPUs as "dense"); "blockwise" never holds all scores
            at once, at any length (on torch, its kernel). "auto" is blockwise for long sequences on
            TensorFlow and JAX, and otherwise fused if there is a kernel (except JAX's on a CPU,
            which is slower) and neither dropout nor scores are requested.
        window: Query `i` attends to keys `i - window + 1 .. i + window - 1`, and with `causal` to
            none after `i`; None for no limit. Blocks skip keys that none of their queries sees.
        scale: s; None for 1 / sqrt(H).
        seed: An int or `keras.random.SeedGenerator` for dropout.
        return_attention_scores: Whether to also return the weights, after softmax and before
            dropout.
        heads_first: Whether `key` and `value` are (B, K, S, H), as in a cache.

    Returns:
        (B, T, N, H), or `{"output": ..., "attention_scores": (B, N, T, S)}`.

    Raises:
        ValueError: if ranks or head counts do not match, `window` is below 1, "fused" or
            "blockwise" is combined with `return_attention_scores`, or a kernel with `dropout`.

    See Also:
        `kt.layers.MultiHeadSelfAttention` and `kt.layers.MultiHeadAttention` are the layers around
        it; `kt.ops.combine_masks` makes its mask.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1, equation 1; grouped heads:
        Ainslie et al. 2023, "GQA", section 2; blocks: Rabe and Staats 2021, "Self-attention Does
        Not Need O(n^2) Memory".

    Example:
        >>> import keras, keras_transformer as kt
        >>> query = keras.random.normal((2, 5, 4, 8))
        >>> key = value = keras.random.normal((2, 7, 2, 8))
        >>> kt.ops.dot_product_attention(query, key, value).shape
        (2, 5, 4, 8)
    """
    query, key, value, mask, bias = to_tensors(query, key, value, mask, bias)
    _check_arguments(query, key, value, implementation, heads_first, window)
    needs_weights = return_attention_scores or dropout > 0.0
    if is_recording(query):
        implementation = "dense"  # others never hold the scores
    in_blocks = _is_blockwise(query, key, implementation, return_attention_scores, heads_first)
    _check_kernel(implementation, in_blocks, return_attention_scores, dropout)
    wants_kernel = _wants_kernel(query, implementation)
    if heads_first and wants_kernel and _may_transpose(query, implementation):
        key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (key, value))
        heads_first = False
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    mask, bias = _with_four_axes(mask), _with_four_axes(bias)
    if in_blocks:
        query = ops.transpose(query, (0, 2, 1, 3))
        if not heads_first:
            key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (key, value))
        output = blockwise_attention(
            query, key, value, mask, bias, causal, dropout, seed=seed, scale=scale, window=window
        )
        return ops.transpose(output, (0, 2, 1, 3))
    if window is not None or (causal and mask is not None):
        # Join the masks: each one may leave every query a key, even if all of them together do not.
        mask = _all_masks(query, key, mask, causal, window, heads_first)
        causal = False
    if wants_kernel and not heads_first and not needs_weights:
        output = _fused_attention(query, key, value, mask, bias, causal, scale)
        return _zero_masked_queries(output, mask)
    if not heads_first:
        key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (key, value))
    weights = _attention_weights(query, key, mask, bias, causal, scale)
    dropped = drop(weights, dropout, seed) if dropout > 0.0 else weights
    output = _zero_masked_queries(_weighted_sum(dropped, value), mask)
    if mask is not None and (return_attention_scores or is_recording(query)):
        weights = ops.where(mask, weights, ops.zeros_like(weights))
    if is_recording(query):
        output = _report_heads(key, value, weights, output)
    if not return_attention_scores:
        return output
    return {"output": output, "attention_scores": weights}


def _report_heads(key, value, weights, output):
    """Reports tensors of all heads (B, heads, length, size); returns the output (B, T, N, H)."""
    report("key", key)
    report("value", value)
    report("weights", weights)
    heads = report("head_output", ops.transpose(output, (0, 2, 1, 3)))
    return ops.transpose(heads, (0, 2, 1, 3))


def _check_arguments(query, key, value, implementation, heads_first, window):
    if window is not None and (not isinstance(window, int) or window < 1):
        raise ValueError(f"`window` must be None or at least 1. Received: window={window!r}.")
    check_choice(IMPLEMENTATIONS, implementation=implementation)
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if len(tensor.shape) != 4:
            raise ValueError(
                f"`{name}` must have shape (batch, length, heads, head size). "
                f"Received: shape={tuple(tensor.shape)}."
            )
    axis = 1 if heads_first else 2
    if query.shape[2] % key.shape[axis] or key.shape[axis] != value.shape[axis]:
        raise ValueError(
            "`key` and `value` must have the same number of heads, a divisor of that of `query`. "
            f"Received: query={query.shape[2]}, key={key.shape[axis]}, value={value.shape[axis]} "
            "heads."
        )


def _is_blockwise(query, key, implementation, return_attention_scores, heads_first):
    if keras.backend.backend() == "torch":
        return False
    if implementation == "auto" and not return_attention_scores:
        many = _MANY_FOR_JAX if jax_platform() == "cpu" else _MANY
        lengths = query.shape[1], key.shape[2 if heads_first else 1]
        return all(isinstance(length, int) and length >= many for length in lengths)
    return implementation == "blockwise"


def _check_kernel(implementation, in_blocks, return_attention_scores, dropout):
    """Raises if scores or dropout are requested that the implementation cannot provide."""
    if implementation not in ("fused", "blockwise"):
        return
    if return_attention_scores or (dropout > 0.0 and not in_blocks):
        unsupported = "attention scores" + ("" if in_blocks else " or dropout")
        raise ValueError(
            f'`implementation="{implementation}"` does not support {unsupported}. Received: '
            f"return_attention_scores={return_attention_scores}, dropout={dropout}."
        )


def _may_transpose(query, implementation):
    """Returns whether to transpose keys and values from a cache's layout to that of the kernels.

    On torch this is a view; elsewhere a copy, worthwhile for a prompt but not for single tokens.
    """
    length = query.shape[1]  # an int, None, or symbolic
    is_short = isinstance(length, int) and length <= 16
    return not is_short or implementation == "fused" or keras.backend.backend() == "torch"


def _wants_kernel(query, implementation):
    """Returns whether to call the backend's kernel: if there is one and it is faster."""
    if implementation == "dense" or keras.backend.backend() == "tensorflow":
        return False
    platform = jax_platform()
    if platform == "tpu":
        # Keras's kernel there drops the bias, and is causal when there is no mask.
        return False
    if platform != "cpu":
        return True
    # JAX's CPU kernel is plain products, in an order that takes up to twice as long and does not
    # compile for float16.
    is_half = keras.backend.standardize_dtype(query.dtype) == "float16"
    return implementation == "fused" and not is_half


def _with_four_axes(tensor):
    if tensor is None:
        return None
    missing = 4 - len(tensor.shape)
    return ops.reshape(tensor, (1,) * missing + tuple(ops.shape(tensor))) if missing else tensor


def _fused_attention(query, key, value, mask, bias, causal, scale):
    if bias is not None and (mask is not None or causal):
        # Backends disagree on how bias, mask and is_causal combine: pass only one of them.
        allowed = _square_causal_mask(query, key) if mask is None else mask
        bias = ops.where(allowed, ops.cast(bias, query.dtype), lowest(query.dtype))
        mask, causal = None, False
    return ops.dot_product_attention(
        query, key, value, bias=bias, mask=mask, scale=scale, is_causal=causal
    )


def _attention_weights(query, key, mask, bias, causal, scale):
    num_groups = query.shape[2] // key.shape[1]
    if is_recording(query):
        report("query", ops.transpose(query, (0, 2, 1, 3)))
    query = ops.transpose(query * ops.cast(scale, query.dtype), (0, 2, 1, 3))  # (B, N, T, H)
    # An einsum multiplies by the transpose without materializing it.
    if num_groups == 1:
        scores = ops.einsum("bnth,bnsh->bnts", query, key)
    else:
        # Stack the queries of a group along the length, so that no key is repeated.
        batch, heads, length, size = ops.shape(query)
        query = ops.reshape(query, (batch, key.shape[1], num_groups * length, size))
        scores = ops.einsum("bnth,bnsh->bnts", query, key)
        scores = ops.reshape(scores, (batch, heads, length, ops.shape(key)[2]))
    scores = ops.cast(scores, "float32")  # (B, N, T, S)
    if is_recording(scores):
        report("scores", scores / scale)
        report("scaled", scores)
    if bias is not None:
        scores = report("biased", scores + ops.cast(bias, "float32"))
    if causal:
        mask = causal_mask(*ops.shape(scores)[2:])
    if is_recording(scores):
        report("masked", scores if mask is None else ops.where(mask, scores, -math.inf))
    return softmax_over_keys(scores, mask)


def _weighted_sum(weights, value):
    weights = ops.cast(weights, value.dtype)  # (B, N, T, S)
    batch, heads, length, keys = ops.shape(weights)
    num_groups = weights.shape[1] // value.shape[1]
    if num_groups > 1:
        weights = ops.reshape(weights, (batch, value.shape[1], num_groups * length, keys))
    output = ops.cast(ops.matmul(weights, value), value.dtype)  # otherwise not float64 on torch
    if num_groups > 1:
        output = ops.reshape(output, (batch, heads, length, value.shape[-1]))
    return ops.transpose(output, (0, 2, 1, 3))  # (B, T, N, H)


def _zero_masked_queries(output, mask):
    """Zeroes queries without any key, whose softmax is a meaningless uniform average."""
    if mask is None:
        return output
    allowed = ops.any(mask, axis=-1, keepdims=True)  # (B, N, T, 1)
    zero = ops.zeros((), dtype=output.dtype)
    return ops.where(ops.transpose(allowed, (0, 2, 1, 3)), output, zero)


def _square_causal_mask(query, key, heads_first=False):
    length = ops.shape(key)[2 if heads_first else 1]
    return causal_mask(ops.shape(query)[1], length)[None, None]  # (1, 1, T, S)


def _all_masks(query, key, mask, causal, window, heads_first):
    masks = [mask]
    if causal:
        masks.append(_square_causal_mask(query, key, heads_first))
    if window is not None:
        lengths = ops.shape(query)[1], ops.shape(key)[2 if heads_first else 1]
        of_query, of_key = (ops.arange(length, dtype="int32") for length in lengths)
        masks.append(window_mask(of_query, of_key, window)[None, None])
    return join_masks(masks)
