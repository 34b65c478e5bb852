"""A run that is killed and resumed ends like one that is not, see `tests.robustness.kills`."""

import os

import keras
import pytest

from tests.robustness import kills


@pytest.mark.slow
@pytest.mark.parametrize("setting", kills.SETTINGS)
def test_a_killed_training_ends_like_a_whole_one(setting, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "KERAS_BACKEND", keras.backend.backend())
    assert sum(kills.kill_often(setting, 2, 1, tmp_path)) == 2
