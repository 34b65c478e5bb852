"""Tests of averaging saved weights."""

import keras
import numpy as np
import pytest

from keras_transformer.training import average_checkpoints


class Counter(keras.layers.Layer):
    """Counts in an integer variable, which must not be averaged."""

    def build(self, input_shape):
        self.count = self.add_weight(
            name="count", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    def call(self, inputs):
        return inputs


def small_model(units=2, dtype="float32", extra=False):
    layers = [keras.Input((3,)), keras.layers.Dense(units, dtype=dtype), Counter()]
    return keras.Sequential(layers + [keras.layers.Dense(units)] * extra)


def set_all(model, value, count):
    for weight in model.weights:
        if "int" in weight.dtype:
            weight.assign(count)
        else:
            weight.assign(np.full(weight.shape, value))


def save_three(model, folder, suffix):
    paths = [folder / f"{index}{suffix}" for index in range(3)]
    for path, value, count in zip(paths, (1.0, 2.0, 6.0), (5, 7, 8), strict=True):
        set_all(model, value, count)
        model.save(path) if suffix == ".keras" else model.save_weights(path)
    return paths


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_average_by_hand(tmp_path, suffix, dtype):
    model = small_model(dtype=dtype)
    paths = save_three(model, tmp_path, suffix)
    set_all(model, -9.0, 0)
    average_checkpoints(model, map(str, paths))
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))
        expected = 8.0 if "int" in weight.dtype else 3.0
        np.testing.assert_array_equal(values, np.full(weight.shape, expected))


def test_adds_up_in_float64(tmp_path):
    model = small_model()
    paths = [tmp_path / f"{index}.weights.h5" for index in range(3)]
    for path, value in zip(paths, (1e8, 1.0, -1e8), strict=True):
        set_all(model, value, 0)
        model.save_weights(path)
    average_checkpoints(model, paths)
    assert model.get_weights()[0][0, 0] == np.float32(1 / 3)


def test_the_optimizer_stays_as_it_is(tmp_path):
    model = small_model()
    model.compile(optimizer="adam", loss="mse")
    inputs, outputs = np.ones((5, 3)), np.ones((5, 2))
    paths = [tmp_path / f"{index}.weights.h5" for index in range(2)]
    for path in paths:
        model.train_on_batch(inputs, outputs)
        model.save_weights(path)
    model.train_on_batch(inputs, outputs)
    before = [keras.ops.convert_to_numpy(v).copy() for v in model.optimizer.variables]
    average_checkpoints(model, paths)
    for variable, value in zip(model.optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    uncompiled = small_model()
    average_checkpoints(uncompiled, paths)
    for own, other in zip(uncompiled.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


def damaged(kind, folder):
    path = folder / f"damaged{'.keras' if kind == 'no archive' else '.weights.h5'}"
    if kind == "other shape":
        small_model(units=5).save_weights(path)
    elif kind == "more layers":
        small_model(extra=True).save_weights(path)
    elif kind == "no layers":
        model = keras.Sequential([keras.Input((3,)), Counter()])
        model.save_weights(path)
    elif kind != "missing":
        path.write_bytes(b"not a checkpoint")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "must name readable"),
        ("no archive", "must name readable"),
        ("no hdf5", "must name readable"),
        ("other shape", "must contain checkpoints of the model's architecture"),
        ("more layers", "must contain checkpoints of the model's architecture"),
        ("no layers", "must contain checkpoints of the model's architecture"),
    ],
)
def test_failures_name_the_file_and_change_nothing(tmp_path, kind, message):
    model = small_model()
    paths = save_three(model, tmp_path, ".weights.h5")
    set_all(model, -9.0, 4)
    before = model.get_weights()
    path = damaged(kind, tmp_path)
    with pytest.raises(ValueError, match=f"`filepaths` {message}.*{path.name}"):
        average_checkpoints(model, [*paths, path])
    for own, saved in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, saved)


def test_no_files():
    with pytest.raises(ValueError, match=r"`filepaths` must name at least one .*filepaths=\[\]"):
        average_checkpoints(small_model(), [])
