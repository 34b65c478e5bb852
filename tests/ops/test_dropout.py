"""Dropout with cheap random numbers is dropout."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.ops.dropout import dropout, kept_entries
from tests.harness import BACKEND, gradient, normal, to_numpy


def generator():
    """What layers draw from; torch has a generator of its own, without a seed of the user's."""
    return keras.random.SeedGenerator()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(401, 499), (7, 3, 9973)])
def test_as_many_are_dropped_and_the_others_scaled(rate, shape):
    output = to_numpy(dropout(ops.full(shape, 3.0), rate, generator()))
    assert output.shape == shape
    kept = output != 0.0
    # Five standard deviations of a mean of so many.
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / output.size)
    np.testing.assert_allclose(output[kept], 3.0 / (1 - rate), rtol=1e-4)
    # Neighbors are dropped independently, also those whose bits are drawn together.
    flat = kept.ravel() - kept.mean()
    for distance in (1, 2, 3, 4, shape[-1]):
        correlation = (flat[distance:] * flat[:-distance]).mean() / flat.var()
        assert abs(correlation) < 5 / np.sqrt(output.size)


@pytest.mark.skipif(BACKEND == "torch", reason="torch draws from a generator of its own")
def test_masks_of_calls_and_seeds_are_independent():
    """Also of one place in them, and of calls that follow each other: 64 masks of 10,000."""
    shape, rate = (100, 100), 0.3
    layers = [keras.random.SeedGenerator(seed) for seed in (0, 1, 2, 2**31 - 1)]
    masks = np.stack(
        [
            to_numpy(kept_entries(layer.next(), shape, rate)).ravel()
            for layer in layers
            for _ in range(16)
        ]
    )
    deviations = masks - (1 - rate)
    variance = rate * (1 - rate)
    correlations = deviations @ deviations.T / (masks.shape[1] * variance)
    others = correlations[~np.eye(64, dtype=bool)]
    assert np.abs(others).max() < 5.5 / 100  # of 2,016 pairs, in standard deviations of 1 / 100
    assert 0.9 < others.std() * 100 < 1.1
    # How often each place is kept: as a binomial distribution of 64 tries says.
    counts = masks.sum(axis=0)
    assert abs(counts.var() / (64 * variance) - 1) < 5 * np.sqrt(2 / masks.shape[1])
    again = kept_entries(keras.random.SeedGenerator(1).next(), shape, rate)
    np.testing.assert_array_equal(to_numpy(again).ravel(), masks[16])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the others have one way to run")
def test_xla_drops_alike():
    import tensorflow as tf

    state = np.array([5, 7], "uint32")

    def kept(state):
        return kept_entries(state, (50, 30), 0.4)

    np.testing.assert_array_equal(tf.function(kept, jit_compile=True)(state), kept(state))


def test_the_gradient_is_dropped_alike():
    x = normal(50, 40)
    weights = normal(50, 40, seed=1)

    def value(tensor):
        keras.utils.set_random_seed(4)
        return ops.multiply(dropout(tensor, 0.3, generator()), weights)

    keras.utils.set_random_seed(4)
    factors = to_numpy(dropout(ops.ones((50, 40)), 0.3, generator()))
    np.testing.assert_allclose(gradient(value, x), factors * weights, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes_and_rates_next_to_nothing(dtype):
    x = ops.ones((3, 5), dtype=dtype)
    assert keras.backend.standardize_dtype(dropout(x, 0.2, generator()).dtype) == dtype
    np.testing.assert_array_equal(to_numpy(dropout(x, 1e-9, generator())).astype("float32"), 1.0)


@pytest.mark.parametrize("seed", [None, 3])
def test_layer(seed):
    layer = Dropout(0.4, seed=seed)
    x = np.ones((20, 30), "float32")
    np.testing.assert_array_equal(to_numpy(layer(x)), x)
    keras.utils.set_random_seed(6)
    first, second = (to_numpy(layer(x, training=True)) for _ in range(2))
    assert (first != second).any()
    assert 0.2 < (first == 0.0).mean() < 0.6
    assert Dropout.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("arguments", [{"rate": 0.5, "noise_shape": (4, 1)}, {"rate": 1.0}])
def test_what_keras_does_besides(arguments):
    output = to_numpy(Dropout(**arguments)(np.ones((4, 6), "float32"), training=True))
    assert (output == output[:, :1]).all()
