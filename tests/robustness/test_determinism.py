"""Training twice with the same seed, in new processes, gives the same results bit for bit."""

import os

import keras
import numpy as np
import pytest

from tests.robustness import kills


@pytest.mark.slow
@pytest.mark.parametrize("setting", kills.SETTINGS)
def test_two_trainings_are_equal(setting, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", keras.backend.backend())
    for name in ("one", "other"):
        assert not kills.run(setting, tmp_path / name)
    one, other = (np.load(tmp_path / name / "end.npz") for name in ("one", "other"))
    assert one.files == other.files and len(one.files) > 10
    for name in one.files:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
