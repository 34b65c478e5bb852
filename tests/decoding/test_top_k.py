"""The best of a vocabulary in two steps against sorting all of it."""

import numpy as np
import pytest
from keras import ops

from keras_transformer.decoding.top_k import best_id, top_k
from tests.harness import to_numpy


@pytest.mark.parametrize("width", [5, 511, 512 * 3, 512 * 3 + 17, 2999])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_best_and_their_ids(width, k):
    logits = np.random.default_rng(width + k).permutation(7 * width).reshape(7, width)
    logits[3] = np.sort(logits[3])  # the best in the last columns, next to each other
    values, ids = (to_numpy(x) for x in top_k(ops.convert_to_tensor(logits, "float32"), k))
    expected = np.argsort(-logits, axis=1)[:, :k]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(values, np.take_along_axis(logits, expected, axis=1))


def test_the_best_may_all_be_in_one_group():
    logits = np.zeros((1, 64 * 40), "float32")
    logits[0, 7::40][:5] = [3.0, 5.0, 1.0, 4.0, 2.0]  # ids 7, 47, 87, ...: one group
    values, ids = (to_numpy(x) for x in top_k(ops.convert_to_tensor(logits), 5))
    np.testing.assert_array_equal(values, [[5.0, 4.0, 3.0, 2.0, 1.0]])
    np.testing.assert_array_equal(ids, [[47, 127, 7, 167, 87]])


@pytest.mark.parametrize("width", [5, 511, 512 * 3, 512 * 3 + 17, 2999])
def test_the_best_id_is_the_first_of_equals(width):
    # Few values: every row has many equals, in one group, in several, and in the last columns.
    logits = np.random.default_rng(width).integers(0, 3, (31, width)).astype("float32")
    logits[3], logits[4], logits[5] = -np.inf, 0.0, 0.0
    logits[4, -2:], logits[5, -1] = 1.0, np.inf
    ids = to_numpy(best_id(ops.convert_to_tensor(logits)))
    np.testing.assert_array_equal(ids, np.argmax(logits, axis=1))
    assert ids.dtype == "int32"


def test_the_best_id_of_what_is_not_a_number_is_an_id():
    logits = np.full((2, 999), np.nan, "float32")
    assert np.all(to_numpy(best_id(ops.convert_to_tensor(logits))) < 999)
