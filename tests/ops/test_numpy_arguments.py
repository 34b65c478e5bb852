"""Every public operation takes NumPy arrays where it takes tensors, as Keras's own do."""

import inspect

import numpy as np
import pytest
from keras import ops, tree

import keras_transformer as kt
from tests.harness import assert_close, normal

B, T, S, N, H = 2, 5, 7, 3, 4
IDS = np.array([[3, 11, 0, 5, 0], [1, 0, 11, 11, 2]])
POSITIONS = np.array([[0, 1, 2, 3, 4], [3, 4, 5, 6, 7]], "int32")
KEY_MASK = np.array([[True] * S, [True] * 4 + [False] * 3])
HEADS = (normal(B, T, N, H), normal(B, S, N, H, seed=1), normal(B, S, N, H, seed=2))
CACHE = kt.ops.KVCache(normal(B, N, S, H, seed=3), normal(B, N, S, H, seed=4))
POSITIONED = kt.ops.PositionedKVCache(*CACHE, np.zeros((B, 1, S, 1), "int32"))

CALLS = {
    "as_cache": [((HEADS[1], HEADS[2]), {})],
    "causal_mask": [((T, S), {"offset": np.array(2, "int32")})],
    "combine_masks": [
        ((KEY_MASK,), {}),
        ((KEY_MASK, np.ones((T, S), bool)), {}),
        ((None, np.ones((B, N, T, S), bool)), {}),
        ((), {"causal": np.tri(T, S, dtype=bool), "window": np.ones((B, T, S), bool)}),
    ],
    "dot_product_attention": [
        (HEADS, {"mask": KEY_MASK[:, None, None]}),
        (HEADS, {"bias": normal(N, T, S, seed=5), "causal": True, "implementation": "dense"}),
        (HEADS, {"mask": np.ones((T, S), bool), "return_attention_scores": True}),
        ((HEADS[0], *CACHE), {"heads_first": True, "window": 3}),
    ],
    "packing_mask": [((np.array([[1, 1, 2, 0, 0]]),), {})],
    "padding_mask": [((IDS,), {})],
    "reorder_cache": [((CACHE, np.array([1, 1], "int32")), {})],
    "update_cache": [
        ((CACHE, HEADS[0], HEADS[0], np.array(1, "int32")), {}),
        ((POSITIONED, HEADS[0], HEADS[0], 2), {"positions": POSITIONS}),
    ],
    "window_mask": [((POSITIONS, POSITIONS, 2), {})],
}


def test_every_public_operation_is_here():
    operations = {name for name in kt.ops.__all__ if inspect.isfunction(getattr(kt.ops, name))}
    assert operations == {*CALLS, "init_cache"}  # which takes no tensors


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, calls in CALLS.items() for call in calls]
)
def test_arrays_give_what_tensors_give(name, call):
    operation, (arguments, keywords) = getattr(kt.ops, name), call

    def as_tensors(nest):
        return tree.map_structure(
            lambda x: ops.convert_to_tensor(x) if isinstance(x, np.ndarray) else x, nest
        )

    result = operation(*arguments, **keywords)
    assert all(ops.is_tensor(leaf) for leaf in tree.flatten(result))
    expected = operation(*as_tensors(arguments), **as_tensors(keywords))
    assert_close(result, expected, tolerance=1e-6)
