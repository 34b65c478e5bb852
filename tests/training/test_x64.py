"""With JAX's 64-bit numbers enabled, float32 models learn the same as without them."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.training.model_kinds import KINDS, gpt

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="a setting of JAX")


def chunked():
    kind = gpt()
    return kind._replace(model=kt.training.ChunkedLossModel(kind.model, chunk_size=3))


def losses(build, x64):
    keras.utils.set_random_seed(4)
    with jax.enable_x64(x64):
        kind = build()
        optimizer = kt.training.DecoupledAdamW(
            kt.training.WarmupLinearSchedule(0.01, 1, 9), weight_decay=0.1
        )
        kind.model.compile(optimizer, kind.loss, jit_compile=True)
        history = kind.model.fit(kind.inputs, kind.labels, batch_size=7, epochs=2, verbose=0)
        assert {str(weight.dtype) for weight in kind.model.weights} <= {"float32", "int32"}
        return history.history["loss"]


@pytest.mark.parametrize("kind", ["chunked", "gpt", "classifier", "recurrent_seq2seq"])
def test_training(kind):
    build = chunked if kind == "chunked" else KINDS[kind]
    (first, second), (first_x64, second_x64) = losses(build, False), losses(build, True)
    np.testing.assert_allclose([first_x64, second_x64], [first, second], rtol=1e-4)


def test_losses_metrics_and_schedules_stay_float32():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 3, 5)).astype("float32")
    weights = generator.random((2, 3))
    with jax.enable_x64(True):
        for dtype in ("int32", "int64"):
            labels = np.array([[3, 1, 0], [2, 0, 0]], dtype)
            for spread in ("all_classes", "wrong_classes"):
                loss = kt.training.MaskedCrossentropy(0.1, spread)
                assert loss(labels, logits, weights).dtype == "float32"
            for metric in (kt.training.MaskedAccuracy(), kt.training.Perplexity()):
                metric.update_state(labels, logits, weights)
                assert metric.result().dtype == "float32"
            step = keras.ops.convert_to_tensor(3, dtype=dtype)
            for schedule in (
                kt.training.NoamSchedule(8, 4),
                kt.training.InverseSquareRootSchedule(0.1, 4),
                kt.training.WarmupCosineSchedule(0.1, 4, 9),
                kt.training.WarmupLinearSchedule(0.1, 4, 9),
            ):
                assert schedule(step).dtype == "float32"
                accumulated = kt.training.AccumulationSchedule(schedule, 2)
                assert accumulated(step).dtype == "float32"
