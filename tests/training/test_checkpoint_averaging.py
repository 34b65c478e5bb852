"""Tests of checkpoint averaging, and of the callbacks that limit the training time."""

import keras
import numpy as np
import pytest

from keras_transformer.training import (
    CheckpointAveraging,
    StopAfter,
    TimeBudget,
    average_checkpoints,
    clock,
)

STEPS = 3


def small_model(steps_per_execution=1):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2), keras.layers.Dropout(0.1)])
    model.compile(
        optimizer=keras.optimizers.Adam(0.1), loss="mse", steps_per_execution=steps_per_execution
    )
    return model


def fit(model, epochs, callbacks):
    generator = np.random.default_rng(7)
    inputs, outputs = generator.normal(size=(STEPS * 2, 5)), generator.normal(size=(STEPS * 2, 2))
    return model.fit(
        inputs, outputs, batch_size=2, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks
    )


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after each step, before any averaging."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append([np.array(weight) for weight in self.model.get_weights()])


def assert_average(model, snapshots):
    for index, weight in enumerate(model.get_weights()):
        expected = np.mean([snapshot[index] for snapshot in snapshots], axis=0, dtype="float64")
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-7)
    # The snapshots differ, so that averaging the wrong ones cannot pass.
    assert len(snapshots) < 2 or np.abs(snapshots[0][0] - snapshots[-1][0]).max() > 1e-3


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize(
    ("save_freq", "num_checkpoints", "steps"),
    [("epoch", 2, (8, 11)), ("epoch", 9, (2, 5, 8, 11)), (2, 3, (7, 9, 11)), (5, 4, (4, 9))],
)
def test_averages_the_last_checkpoints(tmp_path, in_files, save_freq, num_checkpoints, steps):
    filepath = tmp_path / "folder" / "{epoch}-{step}.weights.h5" if in_files else None
    averaging = CheckpointAveraging(num_checkpoints, save_freq, filepath)
    recorder, model = Recorder(), small_model()
    fit(model, 4, [recorder, averaging])
    assert_average(model, [recorder.weights[step] for step in steps])
    if in_files:
        names = {f"{step // STEPS + 1}-{step + 1}.weights.h5" for step in steps}
        paths = list((tmp_path / "folder").iterdir())
        assert {path.name for path in paths} == names
        again = small_model()
        average_checkpoints(again, paths)
        assert_average(again, [recorder.weights[step] for step in steps])


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras has no steps_per_execution on torch"
)
def test_counts_every_step_of_an_execution():
    averaging = CheckpointAveraging(2, save_freq=3)
    model = small_model(steps_per_execution=3)
    recorder = Recorder()
    fit(model, 3, [recorder, averaging])
    assert len(recorder.weights) == 3
    assert_average(model, recorder.weights[1:])


def test_each_fit_starts_afresh():
    averaging, model = CheckpointAveraging(5), small_model()
    fit(model, 2, [averaging])
    recorder = Recorder()
    fit(model, 2, [recorder, averaging])
    assert_average(model, [recorder.weights[step] for step in (2, 5)])


def test_without_a_checkpoint_the_model_is_left_alone():
    recorder, model = Recorder(), small_model()
    fit(model, 1, [recorder, CheckpointAveraging(5, save_freq=100)])
    assert_average(model, recorder.weights[-1:])


class Clock:
    """Replaces the module `time`: every reading is ten seconds later."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 10.0
        return self.now


@pytest.mark.parametrize(("minutes", "steps"), [(0.5, 3), (0.51, 3), (0.1, 1), (1.0, 5), (9.0, 12)])
def test_stops_after_the_time(monkeypatch, minutes, steps):
    # Readings: one at the start, one per step, one per epoch.
    monkeypatch.setattr(clock, "time", Clock())
    recorder, model = Recorder(), small_model()
    fit(model, 4, [recorder, StopAfter(minutes)])
    assert len(recorder.weights) == steps


def test_stopping_still_averages(monkeypatch):
    monkeypatch.setattr(clock, "time", Clock())
    recorder, model = Recorder(), small_model()
    fit(model, 4, [recorder, StopAfter(1.0), CheckpointAveraging(2)])
    assert_average(model, [recorder.weights[step] for step in (2, 4)])


class Rates(keras.callbacks.Callback):
    """Keeps the learning rate of each step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


@pytest.mark.parametrize(
    ("minutes", "epochs", "used"),
    [
        # Readings: one at the start, two per step and one per epoch, ten seconds apart.
        (2.0, 9, [1 / 12, 3 / 12, 5 / 12, 8 / 12, 10 / 12, 12 / 12]),
        # Few epochs and plenty of time: the steps run out first.
        (1000.0, 2, [0 / 6, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]),
    ],
)
def test_the_rate_falls_to_0_as_the_budget_runs_out(monkeypatch, minutes, epochs, used):
    monkeypatch.setattr(clock, "time", Clock())
    model, rates = small_model(), Rates()
    fit(model, epochs, [TimeBudget(minutes, warmup_steps=3), rates])
    expected = [0.1 * min(1, (i + 1) / 3) * (1 - part) for i, part in enumerate(used)]
    np.testing.assert_allclose(rates.rates, expected, atol=2e-4)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)  # for the next fit


def test_the_rate_reaches_the_compiled_step(monkeypatch):
    monkeypatch.setattr(clock, "time", Clock())
    model, recorder, rates = small_model(), Recorder(), Rates()
    before = keras.ops.convert_to_numpy(model.trainable_weights[0]).copy()
    fit(model, 2, [TimeBudget(1000.0, warmup_steps=200), recorder, rates])
    # Adam's first step moves every weight by its rate, a 200th of the peak of 0.1 here.
    steps = np.diff([before, *(weights[0] for weights in recorder.weights)], axis=0)
    np.testing.assert_allclose(np.abs(steps[0]), rates.rates[0], rtol=0.02)
    assert rates.rates[0] == pytest.approx(0.1 / 200, rel=1e-3)
    assert np.abs(steps[1]).max() > 1.2 * rates.rates[0]


def test_a_budget_needs_a_rate_that_can_be_set():
    model = small_model()
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss="mse")
    with pytest.raises(ValueError, match="`TimeBudget` sets the learning rate.*CosineDecay"):
        fit(model, 1, [TimeBudget(1.0)])
    for arguments, message in [((0.0,), "`minutes` must be"), ((1.0, -1), "`warmup_steps` must")]:
        with pytest.raises(ValueError, match=message):
            TimeBudget(*arguments)


def test_messages():
    with pytest.raises(ValueError, match="`num_checkpoints` must be .* num_checkpoints=0"):
        CheckpointAveraging(0)
    with pytest.raises(ValueError, match='`save_freq` must be "epoch" or .* save_freq=batch'):
        CheckpointAveraging(save_freq="batch")
    for filepath, save_freq in [("a.weights.h5", 1), ("{step}.h5", 1), ("{epoch}.weights.h5", 3)]:
        with pytest.raises(ValueError, match="`filepath` must end in .weights.h5 and contain"):
            CheckpointAveraging(save_freq=save_freq, filepath=filepath)
    with pytest.raises(
        ValueError, match="`minutes` must be a finite number > 0. Received: minutes=0"
    ):
        StopAfter(0)
