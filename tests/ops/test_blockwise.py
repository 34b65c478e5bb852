"""Attention in blocks against attention at once: outputs, gradients, dropout."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_transformer.ops.blockwise import blockwise_attention
from keras_transformer.ops.scaled_dot_product import dot_product_attention
from tests.harness import BACKEND, gradient, normal, to_numpy

pytestmark = pytest.mark.skipif(BACKEND == "torch", reason="torch has a kernel")
B, T, S, N, K, H = 2, 11, 13, 6, 2, 5
SCALE = 0.3


def tensors(heads=N, key_heads=K, queries=T, keys=S):
    shapes = ((B, heads, queries, H), (B, key_heads, keys, H), (B, key_heads, keys, H))
    return [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]


def dense(query, key, value, mask=None, bias=None, causal=False, window=None):
    query, key, value = (ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
    output = dot_product_attention(
        query, key, value, mask, bias, causal, implementation="dense", window=window, scale=SCALE
    )
    return ops.transpose(output, (0, 2, 1, 3))


def random_mask(*shape):
    """A mask with queries that see nothing."""
    mask = np.random.default_rng(3).random(shape) < 0.7
    mask[..., 1, :] = False
    return mask


def gradients_of(function, arrays):
    """The gradient for each of the arrays of a weighted sum of the output."""
    found = []
    for index in range(len(arrays)):

        def total(x, index=index):
            given = [ops.convert_to_tensor(array) for array in arrays]
            given[index] = x
            output = function(*given)
            return ops.sum(output * ops.convert_to_tensor(normal(*output.shape, seed=9)))

        found.append(gradient(total, arrays[index]))
    return found


def assert_same(in_blocks, at_once, arrays):
    """Outputs and gradients of both."""
    converted = [ops.convert_to_tensor(array) for array in arrays]
    np.testing.assert_allclose(
        to_numpy(in_blocks(*converted)), to_numpy(at_once(*converted)), atol=2e-6
    )
    pairs = zip(gradients_of(in_blocks, arrays), gradients_of(at_once, arrays), strict=True)
    for ours, expected in pairs:
        np.testing.assert_allclose(ours, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("block", "mask_shape"),
    [(4, shape) for shape in (None, (1, 1, T, S), (B, 1, 1, S), (B, N, T, S))]
    + [(block, (B, N, T, S)) for block in (1, 11, 64)],  # one mask is enough for these
)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias_shape", [None, (1, N, T, S), (B, 1, 1, S), (1, N, T, 1)])
def test_equal_to_dense(block, causal, mask_shape, bias_shape):
    arrays = tensors() + ([] if bias_shape is None else [normal(*bias_shape, seed=5)])
    if mask_shape is None:
        mask = None
    else:
        mask = random_mask(*mask_shape) if mask_shape[2] > 1 else random_mask(B, 1, 2, S)[:, :, :1]

    def at_once(query, key, value, bias=None):
        return dense(query, key, value, mask, bias, causal)

    def in_blocks(query, key, value, bias=None):
        return blockwise_attention(query, key, value, mask, bias, causal, scale=SCALE, block=block)

    assert_same(in_blocks, at_once, arrays)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [1, 5, 40])
def test_causal_parts_of_other_lengths(causal, queries):
    query, key, value = tensors(queries=queries)
    output = blockwise_attention(query, key, value, causal=causal, scale=SCALE, block=3)
    np.testing.assert_allclose(
        to_numpy(output), to_numpy(dense(query, key, value, causal=causal)), atol=2e-6
    )


@pytest.mark.parametrize("window", [1, 3, 5, 12, 99])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_more", [False, True])
def test_windows(window, causal, with_more):
    """Of 17 queries and keys in blocks of 4, most blocks skip keys on both sides."""
    length = 17
    arrays = tensors(queries=length, keys=length)
    mask = random_mask(B, N, length, length) if with_more else None
    arrays += [normal(1, N, length, length, seed=5)] if with_more else []

    def at_once(query, key, value, bias=None):
        return dense(query, key, value, mask, bias, causal, window)

    def in_blocks(query, key, value, bias=None):
        return blockwise_attention(
            query, key, value, mask, bias, causal, scale=SCALE, block=4, window=window
        )

    assert_same(in_blocks, at_once, arrays)


def test_dropout_drops_and_scales_and_both_passes_drop_the_same():
    size, rate = 32, 0.25
    query, key = normal(1, 2, size, H), normal(1, 2, size, H, seed=1)

    def attend(value, dropout=rate, seed=7):
        return blockwise_attention(
            ops.convert_to_tensor(query),
            ops.convert_to_tensor(key),
            value,
            dropout=dropout,
            seed=seed,
            block=8,
        )

    one_hot = np.broadcast_to(np.eye(size, dtype="float32"), (1, 2, size, size)).copy()
    dropped, whole = to_numpy(attend(one_hot)), to_numpy(attend(one_hot, dropout=0.0))
    kept = dropped > 0
    np.testing.assert_allclose(dropped[kept], (whole / (1 - rate))[kept], rtol=1e-5)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / kept.size)
    # No two blocks drop the same, nor do two heads.
    assert not np.array_equal(kept[:, :, :8], kept[:, :, 8:16])
    assert not np.array_equal(kept[:, 0], kept[:, 1])
    np.testing.assert_array_equal(to_numpy(attend(one_hot)), dropped)
    assert not np.array_equal(to_numpy(attend(one_hot, seed=8)), dropped)
    # The output is linear in the value, so its gradient shows the weights of the backward pass.
    upstream = normal(1, 2, size, size, seed=4)
    found = gradient(
        lambda value: ops.sum(attend(value) * ops.convert_to_tensor(upstream)), one_hot
    )
    np.testing.assert_allclose(found, dropped.transpose(0, 1, 3, 2) @ upstream, atol=1e-5)


def test_dropout_has_the_gradient_of_finite_differences():
    query, key, value = tensors(heads=2)

    def total(query):
        output = blockwise_attention(
            query,
            ops.convert_to_tensor(key),
            ops.convert_to_tensor(value),
            dropout=0.4,
            seed=3,
            scale=SCALE,
            block=4,
        )
        return ops.sum(output * ops.convert_to_tensor(normal(B, 2, T, H, seed=9)))

    direction = normal(B, 2, T, H, seed=6)
    step = 1e-2
    high, low = (
        float(total(ops.convert_to_tensor(query + sign * step * direction))) for sign in (1, -1)
    )
    slope = float(np.sum(gradient(total, query) * direction))
    assert slope == pytest.approx((high - low) / (2 * step), rel=1e-2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    query, key, value = (ops.cast(x, dtype) for x in tensors())
    output = blockwise_attention(query, key, value, causal=True, scale=SCALE, block=4)
    assert keras.backend.standardize_dtype(output.dtype) == dtype
    expected = to_numpy(ops.cast(dense(*tensors(), causal=True), "float32"))
    np.testing.assert_allclose(to_numpy(ops.cast(output, "float32")), expected, atol=3e-2)
