"""Attention in blocks of queries: no tensor of T x S scores is ever whole.

Forward, each block of queries computes its scores, softmax and output; of the softmax only the
logarithm of its denominator is kept, from which the backward pass makes the weights of each block
anew. So memory grows with T + S, and the products are those of the dense path, one fourth of them
done twice.

Shape letters: B batch, T query length, S key length, K key/value heads, G query heads of each,
H head size, R queries of a block.

Reference:
    Rabe and Staats 2021, "Self-attention Does Not Need O(n^2) Memory"; Dao et al. 2022,
    "FlashAttention", appendix B.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_transformer.ops.blocks import differentiate, repeat_blocks
from keras_transformer.ops.dropout import kept_entries
from keras_transformer.ops.masks import causal_mask

Tensor = Any

BLOCK = 256
# A causal pass is cut into so many parts, each of which sees the keys up to its last query alone.
_CAUSAL_PARTS = 4
_HIDDEN = -1e30


class _Setting(NamedTuple):
    causal: bool
    dropout: float
    scale: float
    block: int


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
    block: int = BLOCK,
) -> Tensor:
    """Computes attention in blocks of queries, on TensorFlow and JAX.

    Args:
        query: (B, K * G, T, H).
        key: (B, K, S, H).
        value: (B, K, S, H).
        mask: boolean (B or 1, K * G or 1, T or 1, S or 1), True = may attend.
        bias: float, of such a shape, added to the scaled scores.
        causal: query `i` sees keys `0 .. i`, together with `mask`.
        dropout: rate at which attention weights are dropped.
        seed: an int or `keras.random.SeedGenerator` for the dropout.
        scale: of the scores.
        block: R, the queries that are computed at once.

    Returns:
        (B, K * G, T, H); zeros where a query may attend to nothing.
    """
    batch, heads, length, size = ops.shape(query)
    groups = query.shape[1] // key.shape[1]
    if isinstance(length, int):
        block = min(block, length)
    setting = _Setting(causal, dropout, scale, block)
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
    """Adds queries at the end of axis 3."""
    if isinstance(count, int) and not count:
        return tensor
    return ops.pad(tensor, [[0, 0], [0, 0], [0, 0], [0, count], [0, 0]])


def _grouped(tensor, groups, rows, length):
    """Splits the heads of a mask or bias as those of the queries, and pads its queries."""
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


def _parts(setting, rows, keys):
    """Runs of blocks `(first, end)` and how many keys they see."""
    num_blocks = rows // setting.block
    if not (setting.causal and isinstance(rows, int) and isinstance(keys, int)):
        return [(0, num_blocks, keys)]
    per_part = -(-num_blocks // _CAUSAL_PARTS)
    starts = range(0, num_blocks, per_part)
    ends = [min(start + per_part, num_blocks) for start in starts]
    return [
        (start, end, min(end * setting.block, keys))
        for start, end in zip(starts, ends, strict=True)
    ]


def _for_each_block(setting, rows, keys, body, state):
    """Calls `state = body(index, num_keys, state)` for all blocks."""
    for first, end, num_keys in _parts(setting, rows, keys):
        state = repeat_blocks(
            first, end, lambda index, *state, num_keys=num_keys: body(index, num_keys, state), state
        )
    return state


def _forward(setting, differentiable, constants):
    query, key, value, *bias = differentiable
    mask, seed = constants
    rows, keys = ops.shape(query)[3], ops.shape(key)[2]

    def body(index, num_keys, state):
        output, normalizer = state
        scores, allowed = _scores(setting, index, num_keys, query, key, mask, bias)
        highest = ops.max(scores, axis=-1, keepdims=True)
        weights = _hide(ops.exp(scores - highest), allowed)
        total = ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1e-30)
        weights = weights / total
        if seed is not None:
            weights = weights * _kept(setting, seed, index, ops.shape(weights))
        weights = ops.cast(weights, value.dtype)
        block = _einsum("bkgrs,bksh->bkgrh", weights, value[:, :, :num_keys])
        start = (0, 0, 0, index * setting.block, 0)
        output = ops.slice_update(output, start, ops.cast(block, output.dtype))
        return output, ops.slice_update(normalizer, start, highest + ops.log(total))

    shape = ops.shape(query)[:4]
    state = (
        ops.zeros((*shape, value.shape[-1]), dtype=value.dtype),
        ops.zeros((*shape, 1), dtype="float32"),
    )
    output, normalizer = _for_each_block(setting, rows, keys, body, state)
    return (output,), (differentiable, constants, output, normalizer)


def _backward(setting, residuals, upstream):
    (gradient,) = upstream
    (query, key, value, *bias), (mask, seed), output, normalizer = residuals
    rows, keys = ops.shape(query)[3], ops.shape(key)[2]
    product = ops.cast(gradient, "float32") * ops.cast(output, "float32")
    products = ops.sum(product, axis=-1, keepdims=True)

    def body(index, num_keys, state):
        query_gradient, key_gradient, value_gradient, *bias_gradient = state
        scores, allowed = _scores(setting, index, num_keys, query, key, mask, bias)
        weights = _hide(ops.exp(scores - _rows(setting, normalizer, index)), allowed)
        block = _rows(setting, gradient, index)  # (B, K, G, R, H)
        by_weights = _einsum("bkgrh,bksh->bkgrs", block, value[:, :, :num_keys])
        dropped = weights
        if seed is not None:
            kept = _kept(setting, seed, index, ops.shape(weights))
            dropped, by_weights = weights * kept, by_weights * kept
        change = _einsum("bkgrs,bkgrh->bksh", ops.cast(dropped, block.dtype), block)
        value_gradient = _add_first(value_gradient, change, num_keys)
        by_scores = weights * (by_weights - _rows(setting, products, index))
        if bias:
            bias_gradient = [_add_bias(setting, bias_gradient[0], by_scores, index)]
        by_scores = ops.cast(by_scores, query.dtype)
        change = _einsum("bkgrs,bkgrh->bksh", by_scores, _scaled_rows(setting, query, index))
        key_gradient = _add_first(key_gradient, change, num_keys)
        block = _einsum("bkgrs,bksh->bkgrh", by_scores, key[:, :, :num_keys]) * setting.scale
        start = (0, 0, 0, index * setting.block, 0)
        query_gradient = ops.slice_update(query_gradient, start, ops.cast(block, query.dtype))
        return (query_gradient, key_gradient, value_gradient, *bias_gradient)

    state = (
        ops.zeros_like(query),
        *(ops.zeros_like(x, dtype="float32") for x in (key, value, *bias)),
    )
    gradients = _for_each_block(setting, rows, keys, body, state)
    return tuple(ops.cast(one, of.dtype) for one, of in zip(gradients, residuals[0], strict=True))


def _scores(setting, index, num_keys, query, key, mask, bias):
    """The scaled scores of a block, float32 (B, K, G, R, S), and what it may see (None: all)."""
    rows = _scaled_rows(setting, query, index)
    scores = _einsum("bkgrh,bksh->bkgrs", rows, key[:, :, :num_keys])
    if bias:
        scores = scores + ops.cast(_block_of(setting, bias[0], index, num_keys), "float32")
    allowed = None if mask is None else _block_of(setting, mask, index, num_keys)
    if setting.causal:
        past = causal_mask(setting.block, num_keys, offset=index * setting.block)
        allowed = past if allowed is None else ops.logical_and(allowed, past)
    if allowed is not None:
        scores = ops.where(allowed, scores, _HIDDEN)
    return scores, allowed


def _hide(weights, allowed):
    """Zeros for a query that may attend to nothing too, whose hidden scores are all equal."""
    return weights if allowed is None else ops.where(allowed, weights, 0.0)


def _einsum(equation, first, second):
    return ops.cast(ops.einsum(equation, first, second), "float32")


def _rows(setting, tensor, index):
    """The queries of a block, out of axis 3."""
    shape = list(ops.shape(tensor))
    shape[3] = setting.block
    return ops.slice(tensor, (0, 0, 0, index * setting.block, 0), shape)


def _scaled_rows(setting, query, index):
    """The queries of a block times the scale: they are fewer numbers than their scores."""
    return _rows(setting, query, index) * setting.scale


def _block_of(setting, tensor, index, num_keys):
    """A block of a mask or bias, whose axes may have one entry for all."""
    if tensor.shape[3] != 1:
        tensor = _rows(setting, tensor, index)
    return tensor if tensor.shape[4] == 1 else tensor[..., :num_keys]


def _add_first(total, change, num_keys):
    """Adds to the first keys of a gradient (B, K, S, H)."""
    return ops.slice_update(total, (0, 0, 0, 0), total[:, :, :num_keys] + change)


def _add_bias(setting, total, by_scores, index):
    """Adds to the gradient of a bias, summed over what it holds once."""
    axes = [axis for axis in range(5) if total.shape[axis] == 1]
    change = ops.sum(by_scores, axis=axes, keepdims=True) if axes else by_scores
    row = 0 if total.shape[3] == 1 else index * setting.block
    old = ops.slice(total, (0, 0, 0, row, 0), ops.shape(change))
    return ops.slice_update(total, (0, 0, 0, row, 0), old + change)


def _kept(setting, seed, index, shape):
    """What a weight is multiplied with: 0 where it is dropped. The same in both passes."""
    # A seed of its own for each block, other than those of the calls that follow.
    block_seed = seed[0] + ops.cast(index, "uint32") * ops.cast(0x9E3779B1, "uint32")
    kept = kept_entries(ops.stack([block_seed, seed[1]]), shape, setting.dropout)
    return ops.where(kept, 1.0 / (1.0 - setting.dropout), 0.0)
