"""Attention in blocks of queries, which never materializes all T x S scores.

Each block of queries computes scores, weights and output, and stores only the output, plus the log
of the softmax's denominator where useful: the backward pass recomputes the block's scores and
weights. Memory thus grows with T + S, and one of the six products of the dense path is computed
twice.

Shape letters: B batch, T query length, S key length, K key/value heads, G query heads per key/value
head, H head size, R queries per block.

Reference:
    Rabe and Staats 2021, "Self-attention Does Not Need O(n^2) Memory"; Dao et al. 2022,
    "FlashAttention", appendix B.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_transformer.ops.attention_softmax import lowest, softmax_over_keys
from keras_transformer.ops.block_loop import differentiate
from keras_transformer.ops.dropout import kept_entries
from keras_transformer.ops.indices import same_type
from keras_transformer.ops.masks import join_masks
from keras_transformer.ops.seen_keys import (
    Places,
    add_to_keys,
    for_each_block,
    masks_of_place,
    take_keys,
)

Tensor = Any

# Blocks are smaller where causal parts or dropout masks need memory in addition to the scores.
BLOCK, SMALL_BLOCK = 512, 256


class _Setting(NamedTuple):
    dropout: float
    scale: float
    places: Places


def blockwise_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    seed: Any = None,
    scale: float = 1.0,
    block: int | None = None,
    window: int | None = None,
) -> Tensor:
    """Computes attention in blocks of queries, on TensorFlow and JAX.

    Args:
        query: (B, K * G, T, H).
        key: (B, K, S, H).
        value: (B, K, S, H).
        mask: Boolean (B or 1, K * G or 1, T or 1, S or 1), True = may attend.
        bias: Float, of a shape like that of `mask`, added to the scaled scores.
        causal: Whether query `i` sees only keys `0 .. i`, in addition to `mask`.
        dropout: Dropout rate of the attention weights.
        seed: An int or `keras.random.SeedGenerator` for dropout.
        scale: Factor by which to multiply the scores.
        block: R, the number of queries computed at once; None for a suitable default.
        window: Query `i` sees only keys at distances below `window`; None for no limit. A block
            reads only the keys that its queries see, so that time grows linearly with T.

    Returns:
        (B, K * G, T, H); zeros for queries that may not attend to any key.
    """
    batch, heads, length, size = ops.shape(query)
    groups = query.shape[1] // key.shape[1]
    if block is None:
        block = SMALL_BLOCK if causal or dropout or window is not None else BLOCK
    if isinstance(length, int):
        block = min(block, length)
    setting = _Setting(dropout, scale, Places(block, causal, window))
    rows = -(-length // block) * block
    query = ops.reshape(query, (batch, key.shape[1], groups, length, size))
    query = _pad_rows(query, rows - length)
    mask, bias = (_grouped(x, groups, rows, length) for x in (mask, bias))
    seed = _seed_tensor(seed) if dropout else None
    differentiable = (query, key, value) if bias is None else (query, key, value, bias)
    (output,) = differentiate(
        lambda *tensors: _forward(setting, *tensors),
        lambda *tensors: _backward(setting, *tensors),
        differentiable,
        (mask, seed),
    )
    return ops.reshape(output[:, :, :, :length], (batch, heads, length, value.shape[-1]))


def _pad_rows(tensor, count):
    """Pads the queries (axis 3) at the end."""
    if isinstance(count, int) and not count:
        return tensor
    return ops.pad(tensor, [[0, 0], [0, 0], [0, 0], [0, count], [0, 0]])


def _grouped(tensor, groups, rows, length):
    """Splits the heads of a mask or bias like those of the queries, and pads its queries."""
    if tensor is None:
        return None
    batch, heads, queries, keys = ops.shape(tensor)
    split = (1, 1) if tensor.shape[1] == 1 else (tensor.shape[1] // groups, groups)
    tensor = ops.reshape(tensor, (batch, *split, queries, keys))
    return tensor if tensor.shape[3] == 1 else _pad_rows(tensor, rows - length)


def _seed_tensor(seed):
    if seed is None:
        seed = keras.random.SeedGenerator()
    if isinstance(seed, keras.random.SeedGenerator):
        return ops.cast(seed.next(), "uint32")
    return ops.convert_to_tensor([seed & 0xFFFFFFFF, 0], dtype="uint32")


def _forward(setting, differentiable, constants):
    query, key, value, *bias = differentiable
    mask, seed = constants
    rows, keys = ops.shape(query)[3], ops.shape(key)[2]
    scaled = query * setting.scale

    def body(index, seen, state):
        scores, allowed = _scores(setting, index, seen, scaled, key, mask, bias)
        weights, *normalizer = _softmax(scores)
        weights = _hide(weights, allowed)
        if seed is not None:
            weights = weights * _kept(setting, seed, index, ops.shape(weights))
        weights = ops.cast(weights, value.dtype)
        block = _einsum("bkgrs,bksh->bkgrh", weights, take_keys(value, seen))
        start = same_type(0, 0, 0, index * setting.places.block, 0)
        return tuple(
            ops.slice_update(whole, start, ops.cast(part, whole.dtype))
            for whole, part in zip(state, (block, *normalizer), strict=True)
        )

    shape = ops.shape(query)[:4]
    state: tuple[Any, ...] = (ops.zeros((*shape, value.shape[-1]), dtype=value.dtype),)
    if not _has_kernel():
        state = (*state, ops.zeros((*shape, 1), dtype="float32"))
    output, *normalizer = for_each_block(setting.places, rows, keys, body, state)
    return (output,), (differentiable, constants, output, *normalizer)


def _backward(setting, residuals, upstream):
    (gradient,) = upstream
    (query, key, value, *bias), (mask, seed), output, *normalizer = residuals
    rows, keys = ops.shape(query)[3], ops.shape(key)[2]
    product = ops.cast(gradient, "float32") * ops.cast(output, "float32")
    products = ops.sum(product, axis=-1, keepdims=True)
    scaled = query * setting.scale
    scored, weighed = (scaled, key), (gradient, value)
    # Fold the subtractions from scores and gradients into their products, instead of a pass over
    # each block; in half precision they would be rounded.
    is_float32 = _is_float32(query)
    if is_float32:
        scored = _less(*scored, *normalizer) if normalizer else scored
        weighed = _less(*weighed, products) if seed is None else weighed

    def body(index, seen, state):
        query_gradient, key_gradient, value_gradient, *bias_gradient = state
        scores, allowed = _scores(setting, index, seen, *scored, mask, bias)
        if not normalizer:
            weights = _hide(softmax_over_keys(scores), allowed)
        elif is_float32:
            weights = ops.exp(scores)
        else:
            weights = _hide(ops.exp(scores - _rows(setting, normalizer[0], index)), allowed)
        block = _rows(setting, gradient, index)  # (B, K, G, R, H)
        rows_of_block = _rows(setting, weighed[0], index)
        by_weights = _einsum("bkgrh,bksh->bkgrs", rows_of_block, take_keys(weighed[1], seen))
        dropped = weights
        if seed is not None:
            kept = _kept(setting, seed, index, ops.shape(weights))
            dropped, by_weights = weights * kept, by_weights * kept
        change = _einsum("bkgrs,bkgrh->bksh", ops.cast(dropped, block.dtype), block)
        value_gradient = add_to_keys(value_gradient, change, seen)
        if not is_float32 or seed is not None:
            by_weights = by_weights - _rows(setting, products, index)
        by_scores = weights * by_weights
        if bias:
            bias_gradient = [_add_bias(setting, bias_gradient[0], by_scores, index, seen)]
        by_scores = ops.cast(by_scores, query.dtype)
        change = _einsum("bkgrs,bkgrh->bksh", by_scores, _rows(setting, scaled, index))
        key_gradient = add_to_keys(key_gradient, change, seen)
        block = _einsum("bkgrs,bksh->bkgrh", by_scores, take_keys(key, seen)) * setting.scale
        start = same_type(0, 0, 0, index * setting.places.block, 0)
        query_gradient = ops.slice_update(query_gradient, start, ops.cast(block, query.dtype))
        return (query_gradient, key_gradient, value_gradient, *bias_gradient)

    state = (
        ops.zeros_like(query),
        *(ops.zeros_like(x, dtype="float32") for x in (key, value, *bias)),
    )
    gradients = for_each_block(setting.places, rows, keys, body, state)
    return tuple(ops.cast(one, of.dtype) for one, of in zip(gradients, residuals[0], strict=True))


def _is_float32(tensor):
    return keras.backend.standardize_dtype(tensor.dtype) == "float32"


def _less(first, second, less):
    """Extends two tensors so that their product over the last axis is reduced by `less`."""
    ones = ops.ones_like(second[..., :1])
    return ops.concatenate([first, -less], axis=-1), ops.concatenate([second, ones], axis=-1)


def _scores(setting, index, seen, scaled, key, mask, bias):
    """Returns a block's scores, float32 (B, K, G, R, S), and its mask (None allows all)."""
    rows = _rows(setting, scaled, index)
    scores = _einsum("bkgrh,bksh->bkgrs", rows, take_keys(key, seen))
    if bias:
        scores = scores + ops.cast(_block_of(setting, bias[0], index, seen), "float32")
    allowed = None if mask is None else _block_of(setting, mask, index, seen)
    allowed = join_masks([allowed, *masks_of_place(setting.places, index, seen)])
    if allowed is not None:
        scores = ops.where(allowed, scores, lowest("float32"))
    return scores, allowed


def _has_kernel():
    """Whether softmax is a single pass over memory, so that recomputing it beats storing it.

    This is the case on TensorFlow without XLA, which we recommend on a CPU; XLA runs a loop for
    each step of the softmax.

    """
    return keras.backend.backend() == "tensorflow"


def _softmax(scores):
    """Returns a block's weights and, without a softmax kernel, the log of their denominator."""
    if _has_kernel():
        return (softmax_over_keys(scores),)
    normalizer = ops.logsumexp(scores, axis=-1, keepdims=True)
    return ops.exp(scores - normalizer), normalizer


def _hide(weights, allowed):
    """Zeroes masked weights, including those of a query whose keys are all masked."""
    return weights if allowed is None else ops.where(allowed, weights, 0.0)


def _einsum(equation, first, second):
    return ops.cast(ops.einsum(equation, first, second), "float32")


def _rows(setting, tensor, index):
    """Slices the queries of a block from axis 3."""
    shape = list(ops.shape(tensor))
    shape[3] = setting.places.block
    return ops.slice(tensor, same_type(0, 0, 0, index * setting.places.block, 0), shape)


def _block_of(setting, tensor, index, seen):
    """Slices a block of a mask or bias, whose axes may have size 1 for broadcasting."""
    if tensor.shape[3] != 1:
        tensor = _rows(setting, tensor, index)
    return tensor if tensor.shape[4] == 1 else take_keys(tensor, seen, axis=4)


def _add_bias(setting, total, by_scores, index, seen):
    """Adds a block to the gradient of a bias, summed over its broadcast axes."""
    axes = [axis for axis in range(5) if total.shape[axis] == 1]
    change = ops.sum(by_scores, axis=axes, keepdims=True) if axes else by_scores
    row = 0 if total.shape[3] == 1 else index * setting.places.block
    start = same_type(0, 0, 0, row, 0 if total.shape[4] == 1 else seen.start)
    old = ops.slice(total, start, ops.shape(change))
    return ops.slice_update(total, start, old + change)


def _kept(setting, seed, index, shape):
    """Returns the dropout factors of a block's weights, the same in both passes."""
    # Each block needs its own seed, different from those of later calls.
    block_seed = seed[0] + ops.cast(index, "uint32") * ops.cast(0x9E3779B1, "uint32")
    kept = kept_entries(ops.stack([block_seed, seed[1]]), shape, setting.dropout)
    return ops.where(kept, 1.0 / (1.0 - setting.dropout), 0.0)
