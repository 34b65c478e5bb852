"""Masks against loops."""

import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import to_numpy


def tensor(values, dtype=None):
    return ops.convert_to_tensor(values, dtype=dtype)


@pytest.mark.parametrize("padding_id", [0, 11])
def test_padding_mask_is_true_at_real_tokens(padding_id):
    ids = np.array([[3, 11, 0, 5, 0], [0, 0, 11, 11, 2]])
    mask = to_numpy(kt.ops.padding_mask(tensor(ids), padding_id))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, ids != padding_id)


@pytest.mark.parametrize(
    ("queries", "keys", "offset"), [(5, 5, 0), (3, 7, 0), (2, 7, 4), (1, 7, 6)]
)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_causal_mask_against_loops(queries, keys, offset, as_tensor):
    expected = np.zeros((queries, keys), bool)
    for i in range(queries):
        for j in range(keys):
            expected[i, j] = j <= i + offset
    given = tensor(offset, "int32") if as_tensor else offset
    mask = to_numpy(kt.ops.causal_mask(queries, keys, given))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_packing_mask_against_loops():
    segments = np.array([[1, 1, 2, 2, 2, 0, 0], [3, 1, 1, 0, 3, 1, 2]])
    expected = np.zeros((2, 7, 7), bool)
    for b in range(2):
        for i in range(7):
            for j in range(7):
                expected[b, i, j] = segments[b, i] == segments[b, j] != 0
    np.testing.assert_array_equal(to_numpy(kt.ops.packing_mask(tensor(segments))), expected)
    np.testing.assert_array_equal(to_numpy(kt.ops.packing_mask(segments.tolist())), expected)


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_combine_masks_against_loops(rank):
    batch, heads, queries, keys = 2, 3, 5, 7
    generator = np.random.default_rng(rank)
    padding = generator.random((batch, keys)) < 0.7
    attention = generator.random((batch, heads, queries, keys)[4 - rank :]) < 0.7
    if rank == 3:
        attention = generator.random((batch, queries, keys)) < 0.7
    expected = np.zeros((batch, heads, queries, keys), bool)
    for b in range(batch):
        for n in range(heads):
            for i in range(queries):
                for j in range(keys):
                    index = {2: (i, j), 3: (b, i, j), 4: (b, n, i, j)}[rank]
                    expected[b, n, i, j] = padding[b, j] and attention[index] and j <= i + 2
    combined = kt.ops.combine_masks(
        tensor(padding), tensor(attention), kt.ops.causal_mask(queries, keys, 2)
    )
    assert len(combined.shape) == 4
    np.testing.assert_array_equal(np.broadcast_to(to_numpy(combined), expected.shape), expected)


def test_combine_masks_of_nothing_is_none():
    assert kt.ops.combine_masks() is None


def test_combine_masks_alone():
    padding = np.array([[True, False, True]])
    np.testing.assert_array_equal(
        to_numpy(kt.ops.combine_masks(tensor(padding))), padding[:, None, None]
    )


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_numbers_are_no_masks(dtype):
    numbers = ops.ones((2, 3), dtype=dtype)
    with pytest.raises(ValueError, match=f"`padding_mask` must be boolean.*dtype={dtype}"):
        kt.ops.combine_masks(padding_mask=numbers)
    with pytest.raises(ValueError, match=f"`attention_mask` must be boolean.*dtype={dtype}"):
        kt.ops.combine_masks(attention_mask=numbers)


def test_masks_of_another_rank():
    ones = ops.ones((2, 3, 5, 5, 1), dtype="bool")
    with pytest.raises(
        ValueError, match=r"`padding_mask` must have rank 2. Received: shape=\(2, 3"
    ):
        kt.ops.combine_masks(padding_mask=ones[..., 0, 0])
    with pytest.raises(ValueError, match="`attention_mask` must have rank 2 or 3 or 4"):
        kt.ops.combine_masks(attention_mask=ones)
