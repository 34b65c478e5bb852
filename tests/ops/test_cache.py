"""Caches: what is written where, what moves where, and that nothing is shared."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from tests.harness import make_decoder, normal, to_numpy

B, S, K, H = 3, 7, 2, 5


def test_init_cache_makes_two_tensors_of_zeros():
    cache = kt.ops.init_cache(B, S, num_heads=K, head_dim=H, dtype="bfloat16")
    assert cache.key is not cache.value
    for leaf in cache:
        assert tuple(leaf.shape) == (B, K, S, H)
        assert keras.backend.standardize_dtype(leaf.dtype) == "bfloat16"
        assert not to_numpy(leaf).any()


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(("index", "length"), [(0, 1), (0, 7), (2, 3), (6, 1)])
def test_update_cache_writes_from_its_index_on(index, length, as_tensor):
    old_key, old_value = normal(B, K, S, H), normal(B, K, S, H, seed=1)
    cache = kt.ops.KVCache(ops.convert_to_tensor(old_key), ops.convert_to_tensor(old_value))
    key, value = normal(B, length, K, H, seed=2), normal(B, length, K, H, seed=3)
    given = ops.convert_to_tensor(index, dtype="int32") if as_tensor else index
    new = kt.ops.update_cache(
        cache, ops.convert_to_tensor(key), ops.convert_to_tensor(value), given
    )
    for leaf, old, written in zip(new, (old_key, old_value), (key, value), strict=True):
        expected = old.copy()
        expected[:, :, index : index + length] = written.transpose(0, 2, 1, 3)
        np.testing.assert_array_equal(to_numpy(leaf), expected)
    # What was handed in stays as it was: a beam may still continue it.
    np.testing.assert_array_equal(to_numpy(cache.key), old_key)
    np.testing.assert_array_equal(to_numpy(cache.value), old_value)


def test_update_cache_keeps_the_dtype_of_the_cache():
    cache = kt.ops.init_cache(B, S, K, H, dtype="float16")
    new = kt.ops.update_cache(cache, normal(B, 1, K, H), normal(B, 1, K, H), 0)
    assert {keras.backend.standardize_dtype(leaf.dtype) for leaf in new} == {"float16"}


def test_reorder_cache_moves_rows_of_any_nest():
    leaves = [normal(B, S, K, H), normal(B, 4, seed=1), np.arange(B, dtype="int32")]
    nest = {"a": (ops.convert_to_tensor(leaves[0]),), "b": [ops.convert_to_tensor(leaves[1])]}
    nest["c"] = kt.ops.KVCache(*(ops.convert_to_tensor(leaves[2]) for _ in range(2)))
    order = np.array([2, 0, 2])
    new = kt.ops.reorder_cache(nest, ops.convert_to_tensor(order))
    np.testing.assert_array_equal(to_numpy(new["a"][0]), leaves[0][order])
    np.testing.assert_array_equal(to_numpy(new["b"][0]), leaves[1][order])
    assert type(new["c"]) is kt.ops.KVCache
    np.testing.assert_array_equal(to_numpy(new["c"].value), leaves[2][order])


def test_no_leaf_of_a_decoder_cache_is_shared():
    decoder = make_decoder(2, 2, 8)
    encoded = normal(B, 3, 4)
    decoder(normal(B, 5, 4), encoded)
    leaves = keras.tree.flatten(decoder.initial_cache(B, 5, encoded))
    assert len(leaves) == 8
    assert len({id(leaf) for leaf in leaves}) == 8
    if keras.backend.backend() == "torch":
        assert len({leaf.data_ptr() for leaf in leaves}) == 8


@pytest.mark.parametrize("given", [None, "one row", "rows"])
def test_a_cache_that_knows_its_positions(given):
    rows = np.array([[7, 9], [4, 1], [0, 3]], "int32")[:B]
    positions = {None: None, "one row": rows[0], "rows": rows}[given]
    expected = {None: [[2, 3]] * B, "one row": [rows[0]] * B, "rows": rows}[given]
    cache = kt.ops.init_cache(B, S, K, H, positioned=True)
    key, value = normal(B, 2, K, H), normal(B, 2, K, H, seed=1)
    new = kt.ops.update_cache(cache, key, value, 2, positions)
    assert type(new) is kt.ops.PositionedKVCache
    found = to_numpy(new.positions)
    assert found.shape == (B, 1, S, 1) and not found[:, :, :2].any() and not found[:, :, 4:].any()
    np.testing.assert_array_equal(found[:, 0, 2:4, 0], expected)
    plain = kt.ops.update_cache(kt.ops.init_cache(B, S, K, H), key, value, 2)
    np.testing.assert_array_equal(to_numpy(new.key), to_numpy(plain.key))
