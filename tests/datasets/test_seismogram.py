"""The seismogram; the file itself is checked by its hash."""

import numpy as np

from keras_transformer.datasets import seismogram


def test_three_channels_of_thirty_seconds():
    series = seismogram.load_data()
    assert series.shape == (30 * seismogram.SAMPLES_PER_SECOND, len(seismogram.CHANNELS))
    assert series.dtype == np.float32 and np.isfinite(series).all()
    # Quiet at first, strongest when the waves arrive.
    strength = series.reshape(10, 300, 3).std(axis=1)
    assert (strength.argmax(axis=0) == 2).all()
    assert (strength[2] > 3 * strength[0]).all()
