"""Folders of each kind for a test, and an alarm."""

import signal

import pytest

from tests.robustness.subjects import SUBJECTS, copy


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Returns a copy of a subject's folder; each is built once."""
    root = tmp_path_factory.mktemp("built")

    def get(name, target):
        if not (root / name).exists():
            SUBJECTS[name].build(root / name)
        copy(root / name, target)
        return target

    return get


@pytest.fixture(autouse=True)
def in_time():
    """An opened named pipe would wait forever."""

    def stop(*_):
        raise TimeoutError("a loader hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
