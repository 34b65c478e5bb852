"""The seismogram; the file itself is checked by its hash."""

import numpy as np
import pytest

from keras_transformer.datasets import seismogram


def test_three_channels_of_thirty_seconds():
    series = seismogram.load_data()
    assert series.shape == (30 * seismogram.SAMPLES_PER_SECOND, len(seismogram.CHANNELS))
    assert series.dtype == np.float32 and np.isfinite(series).all()
    # Quiet at first, strongest when the waves arrive.
    strength = series.reshape(10, 300, 3).std(axis=1)
    assert (strength.argmax(axis=0) == 2).all()
    assert (strength[2] > 3 * strength[0]).all()


def test_hours_of_vertical_motion():
    series = seismogram.load_data("KW1")
    assert series.shape == (936_001, 1) and series.dtype == np.float32
    assert np.isfinite(series).all()
    # A distant earthquake after half an hour.
    strength = series[: 60 * 6000].reshape(60, 6000).std(axis=1)
    assert strength[31:37].min() > 3 * strength[:30].max()


def test_unknown_station():
    with pytest.raises(ValueError, match="`station` must be one of .*station='KW2'"):
        seismogram.load_data("KW2")
