"""The loss with in-batch negatives against loops over pairs in NumPy."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import normal, to_numpy

InBatchNegatives = kt.training.InBatchNegatives
LABELS = {
    "all_different": np.array([3, 1, 0, 2, 4]),
    "duplicates": np.array([3, 1, 3, 2, 1]),
    "all_the_same": np.array([7, 7, 7, 7, 7]),
    # As float32 these would be equal.
    "large": np.array([2**30, 2**30 + 1, 2**30 + 2, 2**30, 5]),
    "a_column": np.array([[3], [1], [3], [2], [4]]),
}


def by_hand(labels, similarities, temperature):
    """One pair at a time, without any trick."""
    losses = []
    for row, own in enumerate(labels):
        total = 0.0
        for column, other in enumerate(labels):
            if column == row or other != own:
                total += np.exp(similarities[row, column] / temperature)
        losses.append(-np.log(np.exp(similarities[row, row] / temperature) / total))
    return np.array(losses)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("name", LABELS)
def test_losses(name, temperature, symmetric):
    similarities, labels = np.tanh(normal(5, 5)), LABELS[name].ravel()
    expected = by_hand(labels, similarities.astype("float64"), temperature)
    if symmetric:
        other = by_hand(labels, similarities.T.astype("float64"), temperature)
        expected = (expected + other) / 2
    loss = InBatchNegatives(temperature, symmetric, reduction="none")
    actual = to_numpy(loss(LABELS[name], similarities))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    if name == "all_the_same":
        assert (actual == 0).all()


def test_reductions_and_weights():
    similarities, labels = normal(5, 5), np.array([0, 1, 2, 0, 4])
    weights = np.array([1.0, 0.0, 2.0, 0.5, 0.0], "float32")
    each = to_numpy(InBatchNegatives(1.0, reduction=None)(labels, similarities))
    total = to_numpy(InBatchNegatives(1.0, reduction="sum")(labels, similarities, weights))
    mean = to_numpy(InBatchNegatives(1.0)(labels, similarities, weights))
    np.testing.assert_allclose(total, (each * weights).sum(), rtol=1e-5)
    np.testing.assert_allclose(mean, (each * weights).sum() / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(
        to_numpy(InBatchNegatives(1.0)(labels, similarities)), each.mean(), rtol=1e-5
    )
    assert to_numpy(InBatchNegatives(1.0)(labels, similarities, 0 * weights)) == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    similarities = keras.ops.cast(np.tanh(normal(5, 5)), dtype)
    exact = to_numpy(similarities)
    actual = InBatchNegatives(0.01)(np.arange(5), similarities)
    assert keras.backend.standardize_dtype(actual.dtype) == "float32"
    expected = by_hand(np.arange(5), exact.astype("float64"), 0.01).mean()
    np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-4)


def test_it_is_saved_with_its_settings():
    loss = InBatchNegatives(0.2, symmetric=True, reduction="sum", name="pairs")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(again, InBatchNegatives) and again.get_config() == loss.get_config()
    assert (again.temperature, again.symmetric, again.reduction) == (0.2, True, "sum")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "`temperature` must be a finite number > 0. Received: temperature=0"),
        ({"symmetric": 1}, "`symmetric` must be True or False. Received: symmetric=1"),
        ({"reduction": "median"}, "`reduction` must be one of .* Received: reduction='median'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        InBatchNegatives(**arguments)


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        ((5,), (5, 3), r"`y_pred.shape` must be a matrix \(B, B\) .* Received: .*\(5, 3\)"),
        ((5,), (5,), r"`y_pred.shape` must be a matrix .* Received: .*\(5,\)"),
        ((3,), (5, 5), r"`y_true.shape` must be one label for each of 5 pairs. .*\(3,\)"),
        ((5, 5), (5, 5), "`y_true.shape` must be one label for each of 5 pairs"),
    ],
)
def test_shapes_that_do_not_match(labels, shape, message):
    with pytest.raises(ValueError, match=message):
        InBatchNegatives()(np.zeros(labels, "int32"), normal(*shape))
