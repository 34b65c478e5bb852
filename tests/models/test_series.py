"""Forecasters of a series: windows, laws, and steps that equal the whole pass."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, assert_close, normal, outputs_after_reload, randomize, to_numpy

B, S, T, C = 3, 7, 5, 2
CASES = {
    "transformer": {"num_heads": 2, "intermediate_dim": 11},
    "simple": {"kind": "simple", "attention": None},
    "lstm": {"kind": "lstm"},
    "gru": {"kind": "gru", "attention": "bahdanau"},
}


def make(name):
    return randomize(kt.models.series_forecaster(C, hidden_dim=8, **CASES[name]), stddev=0.4)


def call(model, past, previous):
    return to_numpy(model({"past": past, "previous": previous}))


@pytest.mark.parametrize("name", CASES)
def test_cached_steps_are_the_whole_pass(name):
    model, past = make(name), normal(B, S, C)
    found = kt.decoding.forecast(model, past, T)
    whole = call(model, past, kt.data.previous_values(past, found))
    assert_close(whole, found, 1e-4)
    in_parts = kt.decoding.forecast(model, past, T, batch_size=2)
    assert_close(in_parts, found, 1e-5)
    assert_close(kt.decoding.forecast(model, past[1], T), found[1], 1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_future_cannot_leak(name):
    model, past, previous = make(name), normal(B, S, C), normal(B, T, C, seed=1)
    changed = previous.copy()
    changed[:, 3:] += 1.0
    before, after = call(model, past, previous), call(model, past, changed)
    assert_close(after[:, :3], before[:, :3], 1e-6)
    assert np.abs(after[:, 3:] - before[:, 3:]).max() > 0.1
    other = call(model, past + 0.5, previous)
    assert np.abs(other - before).max() > 1e-2  # the past matters


def test_an_untrained_model_says_that_nothing_changes():
    model = kt.models.series_forecaster(C, hidden_dim=8)
    past = normal(B, S, C)
    expected = np.repeat(past[:, -1:], T, axis=1)
    np.testing.assert_array_equal(kt.decoding.forecast(model, past, T), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "gru"])
def test_reloaded(name, tmp_path):
    model = make(name)
    inputs = {"past": normal(B, S, C), "previous": normal(B, T, C, seed=1)}
    expected = to_numpy(model(inputs))
    (found,) = outputs_after_reload(model, inputs, tmp_path, BACKEND).values()
    assert_close(found, expected, 1e-5)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="Keras runs recurrent layers step by step there")
@pytest.mark.parametrize("name", ["transformer", "gru"])
def test_learns_a_wave(name):
    """Two waves, of which the second is the first, a quarter behind."""
    keras.utils.set_random_seed(1)
    times = np.arange(500) * 0.4
    series = np.stack([np.sin(times), np.cos(times)], axis=1)
    past, future = kt.data.series_windows(series, 12, 6)
    model = kt.models.series_forecaster(C, hidden_dim=16, **CASES[name])
    model.compile(keras.optimizers.Adam(5e-3), "mse", jit_compile=BACKEND == "jax")
    inputs = {"past": past, "previous": kt.data.previous_values(past, future)}
    model.fit(inputs, future, batch_size=32, epochs=12, verbose=0)
    found = kt.decoding.forecast(model, past[::17], 6)
    error = np.mean((found - future[::17]) ** 2)
    unchanged = np.mean((past[::17, -1:] - future[::17]) ** 2)
    assert error < unchanged / 50


def make_direct(**options):
    options = {"patch_length": 3, "num_heads": 2, "hidden_dim": 8, **options}
    return kt.models.direct_series_forecaster(C, past_length=6, future_length=T, **options)


def test_an_untrained_direct_model_says_that_nothing_changes():
    past = normal(B, 6, C)
    expected = np.repeat(past[:, -1:], T, axis=1)
    np.testing.assert_array_equal(to_numpy(make_direct()(past)), expected)


def test_the_linear_part_is_a_map_of_the_past_that_channels_share():
    model, past, kernel = make_direct(), normal(B, 6, C), normal(6, T, seed=1)
    model.get_layer("linear").set_weights([kernel])
    expected = past[:, -1:] + np.einsum("bsc,st->btc", past, kernel)
    assert_close(to_numpy(model(past)), expected, 1e-5)


def test_all_of_the_past_reaches_all_steps_and_channels():
    model, past = randomize(make_direct(), stddev=0.4), normal(B, 6, C)
    model.get_layer("linear").set_weights([np.zeros((6, T))])
    before = to_numpy(model(past))
    for step in range(5):  # the last value is added by itself
        for channel in range(C):
            changed = past.copy()
            changed[:, step, channel] += 1.0
            difference = np.abs(to_numpy(model(changed)) - before)
            assert difference.max(axis=0).min() > 1e-4, (step, channel)


@pytest.mark.slow
def test_direct_model_reloaded(tmp_path):
    model, past = randomize(make_direct(num_layers=2), stddev=0.4), normal(B, 6, C)
    expected = to_numpy(model(past))
    (found,) = outputs_after_reload(model, {"past": past}, tmp_path, BACKEND).values()
    assert_close(found, expected, 1e-5)


@pytest.mark.slow
def test_direct_model_learns_what_no_linear_map_can():
    """The future is the maximum of the past."""
    keras.utils.set_random_seed(1)
    past = np.random.default_rng(1).normal(size=(600, 6, 1)).astype("float32")
    future = np.repeat(past.max(axis=1, keepdims=True), 2, axis=1)
    model = kt.models.direct_series_forecaster(1, 6, 2, patch_length=1, num_heads=2, hidden_dim=16)
    model.compile(keras.optimizers.Adam(5e-3), "mse", jit_compile=BACKEND == "jax")
    model.fit(past[:500], future[:500], batch_size=50, epochs=20, verbose=0)
    found = model.predict(past[500:], verbose=0)
    design = np.concatenate([past[:, :, 0], np.ones((600, 1))], axis=1)
    weights = np.linalg.lstsq(design[:500], future[:500, :, 0], rcond=None)[0]
    linear = np.mean((design[500:] @ weights - future[500:, :, 0]) ** 2)
    assert np.mean((found - future[500:]) ** 2) < linear / 3


def test_windows():
    series = np.arange(20, dtype="float64").reshape(10, 2)
    past, future = kt.data.series_windows(series, 3, 2, stride=4)
    assert past.shape == (2, 3, 2) and future.shape == (2, 2, 2) and past.dtype == np.float32
    np.testing.assert_array_equal(past[1], series[4:7])
    np.testing.assert_array_equal(future[1], series[7:9])
    previous = kt.data.previous_values(past, future)
    np.testing.assert_array_equal(previous[1], series[6:8])


WITH_NAN = np.where(np.arange(20) == 13, np.nan, 1.0).reshape(10, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kt.data.series_windows(WITH_NAN, 3, 2), "nan at sample 6, channel 1, the first"),
        (lambda: kt.data.series_windows(np.ones(4), 3, 2), "Received: 4 samples, num_past=3"),
        (lambda: kt.data.series_windows(["a"], 3, 2), "`series` must contain numbers"),
        (lambda: kt.data.series_windows(np.ones((2, 2, 2)), 1, 1), r"shape=\(2, 2, 2\)"),
        (lambda: kt.data.series_windows(np.ones(9), 0, 2), "`num_past` must be a positive integer"),
        (lambda: kt.models.series_forecaster(0), "`num_channels` must be a positive integer"),
        (lambda: kt.models.series_forecaster(2, "rnn"), "`kind` must be one of .*kind='rnn'"),
        (lambda: make_direct(patch_length=0), "`patch_length` must be a positive integer"),
        (
            lambda: make_direct(patch_length=4),
            "`patch_length` must divide `past_length`. Received: patch_length=4, past_length=6",
        ),
        (lambda: kt.decoding.forecast(make("simple"), np.ones((3, 7, 3)), 2), "`past` must have"),
        (
            lambda: kt.decoding.forecast(make("simple"), WITH_NAN, 2),
            "`past` must contain finite numbers. Received: 1 non-finite",
        ),
        (
            lambda: kt.decoding.forecast(keras.Sequential([keras.layers.Dense(2)]), WITH_NAN, 2),
            "`model` must have the layers",
        ),
        (lambda: kt.decoding.forecast(make("simple"), np.ones((7, 2)), 0), "`num_steps` must be"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
