"""Tests of the learning-rate schedules, against values computed by hand."""

import math

import keras
import numpy as np
import pytest

from keras_transformer.training import (
    InverseSquareRootSchedule,
    NoamSchedule,
    WarmupCosineSchedule,
    WarmupLinearSchedule,
)


def value(schedule, step):
    return float(keras.ops.convert_to_numpy(schedule(step)))


@pytest.mark.parametrize(("hidden_dim", "peak"), [(512, 6.99e-4), (1024, 4.94e-4)])
def test_noam_peaks_of_the_paper(hidden_dim, peak):
    schedule = NoamSchedule(hidden_dim)
    assert value(schedule, 3999) == pytest.approx(peak, rel=1e-3)
    assert value(schedule, 3998) < value(schedule, 3999) > value(schedule, 4000)


@pytest.mark.parametrize("update", [1, 2, 1000, 4000, 4001, 100_000])
def test_noam_formula(update):
    expected = 3.0 * 512**-0.5 * min(update**-0.5, update * 4000**-1.5)
    assert value(NoamSchedule(512, 4000, scale=3.0), update - 1) == pytest.approx(expected, 1e-6)


def test_inverse_square_root_by_hand():
    schedule = InverseSquareRootSchedule(peak_learning_rate=0.8, warmup_steps=10)
    values = [value(schedule, update - 1) for update in (1, 5, 10, 40, 160)]
    assert values == pytest.approx([0.08, 0.4, 0.8, 0.4, 0.2], rel=1e-6)


def test_inverse_square_root_is_noam_with_a_given_peak():
    noam = NoamSchedule(512, 400)
    other = InverseSquareRootSchedule((512 * 400) ** -0.5, 400)
    for step in (0, 17, 399, 400, 9999):
        assert value(noam, step) == pytest.approx(value(other, step), rel=1e-5)


def test_cosine_by_hand():
    schedule = WarmupCosineSchedule(0.5, 10, 110, final_learning_rate=0.1)
    updates = (1, 5, 10, 35, 60, 110, 111, 10_000)
    quarter = 0.1 + 0.4 * (1 + math.cos(math.pi / 4)) / 2
    expected = [0.05, 0.25, 0.5, quarter, 0.3, 0.1, 0.1, 0.1]
    assert [value(schedule, update - 1) for update in updates] == pytest.approx(expected, rel=1e-5)


def test_linear_by_hand():
    schedule = WarmupLinearSchedule(0.5, 10, 110, final_learning_rate=0.1)
    updates = (1, 5, 10, 35, 60, 110, 111, 10_000)
    expected = [0.05, 0.25, 0.5, 0.4, 0.3, 0.1, 0.1, 0.1]
    assert [value(schedule, update - 1) for update in updates] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("schedule_class", [WarmupCosineSchedule, WarmupLinearSchedule])
def test_ends_exactly_at_zero_and_needs_no_warmup(schedule_class):
    assert value(schedule_class(0.5, 10, 110), 109) == 0.0
    assert value(schedule_class(0.5, 10, 110), 108) > 0.0
    without_warmup = schedule_class(0.5, 0, 100)
    assert 0.49 < value(without_warmup, 0) < 0.5
    assert value(without_warmup, 49) == pytest.approx(0.25, rel=1e-5)


SCHEDULES = [
    NoamSchedule(512, 40, scale=2.0),
    InverseSquareRootSchedule(0.3, 7),
    WarmupCosineSchedule(0.5, 10, 110, 0.1),
    WarmupLinearSchedule(0.5, 10, 110, 0.1),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_every_kind_of_step_gives_finite_float32(schedule):
    variable = keras.Variable(3, dtype="int32", trainable=False)
    for step in (0, np.int64(2**40), 2**62, variable):
        result = schedule(step)
        assert keras.backend.standardize_dtype(result.dtype) == "float32"
        assert 0.0 <= float(keras.ops.convert_to_numpy(result)) < 1.0
    assert value(schedule, variable) == value(schedule, 3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_serialization(schedule):
    config = keras.optimizers.schedules.serialize(schedule)
    assert config["registered_name"] == f"keras_transformer>{type(schedule).__name__}"
    again = keras.optimizers.schedules.deserialize(config)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()


def test_optimizer_starts_at_update_one():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    schedule = InverseSquareRootSchedule(0.8, 2)
    model.compile(optimizer=keras.optimizers.SGD(schedule), loss=lambda y, p: p)
    model.set_weights([np.array([[1.0]])])
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    assert model.get_weights()[0][0, 0] == pytest.approx(0.6)
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    assert model.get_weights()[0][0, 0] == pytest.approx(-0.2)


def test_messages():
    with pytest.raises(
        ValueError, match=r"`hidden_dim` must be a positive integer. Received: .*=0"
    ):
        NoamSchedule(0)
    with pytest.raises(ValueError, match="`warmup_steps` must be .* Received: warmup_steps=2.5"):
        NoamSchedule(8, warmup_steps=2.5)
    with pytest.raises(
        ValueError, match="`scale` must be a finite number >= 0. Received: scale=-1"
    ):
        NoamSchedule(8, scale=-1)
    with pytest.raises(ValueError, match="`warmup_steps` must be a positive integer"):
        InverseSquareRootSchedule(0.1, 0)
    with pytest.raises(ValueError, match="`peak_learning_rate` must be a finite number >= 0"):
        InverseSquareRootSchedule(-0.1, 5)
    for schedule_class in (WarmupCosineSchedule, WarmupLinearSchedule):
        with pytest.raises(ValueError, match="`total_steps` must be larger .*=10, warmup_steps=10"):
            schedule_class(0.1, 10, 10)
        with pytest.raises(ValueError, match="`final_learning_rate` must be a finite number >= 0"):
            schedule_class(0.1, 1, 10, -1.0)
