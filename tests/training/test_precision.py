"""A translator learns in half precision what it learns in float32, at the same pace."""

import functools

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, to_numpy

V, LENGTH, BATCH, STEPS, WINDOW = 12, 5, 32, 300, 50
START = 1  # words are 2 .. V - 1


def reversed_sequences():
    """Sequences of 3 to 5 words, and the same backwards as target.

    The first row of each batch is nothing but padding: its queries may attend to nothing.
    """
    generator = np.random.default_rng(4)
    source = np.zeros((STEPS * BATCH, LENGTH), "int32")
    target = np.zeros((STEPS * BATCH, LENGTH + 1), "int32")
    target[:, 0] = START
    for row, length in enumerate(generator.integers(3, LENGTH + 1, len(source))):
        words = generator.integers(2, V, length)
        if row % BATCH == 0:
            target[row] = 0
            continue
        source[row, :length], target[row, 1 : length + 1] = words, words[::-1]
    return {"source_ids": source, "target_ids": target[:, :-1]}, target[:, 1:]


class Losses(keras.callbacks.Callback):
    """The loss of each batch: `fit` shows the mean over all batches so far."""

    def __init__(self):
        super().__init__()
        self.means = []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(logs["loss"])

    def curve(self):
        counts = np.arange(1, len(self.means) + 1)
        return np.diff(np.array(self.means, "float64") * counts, prepend=0.0)


@functools.cache
def train(policy):
    """Losses of 300 batches, the metrics of the last epoch, and the optimizer."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(17)
    model = kt.models.transformer(
        V, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32, dropout=0.0
    )
    keras.config.set_dtype_policy(before)
    # A rate low enough for stable training: in float32, weights that differ by a thousandth at the
    # start lead to losses that differ by as much, so larger differences are due to precision.
    recipe = kt.training.transformer_recipe(16, warmup_steps=100, scale=0.2, clip_norm=1.0)
    model.compile(**recipe, jit_compile=BACKEND == "jax")
    losses = Losses()
    inputs, labels = reversed_sequences()
    history = model.fit(
        inputs, labels, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[losses]
    ).history
    assert all(np.isfinite(to_numpy(weight.value)).all() for weight in model.weights)
    return losses.curve(), {name: values[-1] for name, values in history.items()}, model


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_follows_float32(policy):
    """Means over windows of 50 batches differ by 2 % at most, in each of the six windows."""
    expected, expected_metrics, _ = train("float32")
    assert expected.shape == (STEPS,)
    actual, metrics, model = train(policy)
    assert np.isfinite(actual).all()
    windows = [curve.reshape(-1, WINDOW).mean(axis=1) for curve in (expected, actual)]
    # There is something to follow: most of what can be learned is learned.
    assert windows[0][-1] < 0.6 * windows[0][0]
    np.testing.assert_allclose(windows[1], windows[0], rtol=0.02)
    assert metrics["perplexity"] == pytest.approx(expected_metrics["perplexity"], rel=0.02)
    assert metrics["masked_accuracy"] == pytest.approx(
        expected_metrics["masked_accuracy"], abs=0.02
    )
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    updates = int(to_numpy(keras.ops.convert_to_tensor(model.optimizer.iterations)))
    # A few updates are left out until the scale of the loss is small enough.
    assert STEPS - 5 <= updates <= STEPS
