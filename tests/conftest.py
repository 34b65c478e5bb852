"""What all tests share: the default backend, quiet logs, one random seed a test."""

import gc
import itertools
import os
import zlib

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if os.environ["KERAS_BACKEND"] == "jax":
    from tests.jax_settings import JAX_SETTINGS

    for name, value in JAX_SETTINGS.items():
        os.environ.setdefault(name, value)

import keras  # noqa: E402
import pytest  # noqa: E402

import keras_transformer as kt  # noqa: E402
from tests.memory import forget_programs, forget_written_gradients  # noqa: E402

# Warnings are errors; these come from the libraries below and are not ours to mend.
THIRD_PARTY_WARNINGS = [
    # Keras reads torch tensors with np.array(..., copy=...), which torch does not know yet.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
]


# Tests with fewer cases than this are run whole in a sample.
FEW_CASES = 4
# A sample runs one in this many of the slow tests of a file.
SLOW_SHARE = 10
# In a sample, every case of a law runs on torch, which is the fastest, and one in this many on
# TensorFlow and on JAX: other ones on each.
LAWS, LAW_SHARE = "tests/laws/", 3
LAW_STARTS = {"tensorflow": 0, "jax": 1}
# Run whole in a sample: random configurations, whose number has an option, and what is published.
RUN_WHOLE = ("tests/robustness/properties/", "tests/robustness/test_distribution")


def pytest_addoption(parser):
    parser.addoption(
        "--sample",
        type=int,
        default=1,
        metavar="K",
        help="run every K-th case of tests with many, a third of the laws, and some slow tests",
    )
    parser.addoption(
        "--configurations",
        type=int,
        default=10,
        metavar="N",
        help="how many random configurations tests/robustness/properties checks",
    )


def pytest_collection_modifyitems(config, items):
    """Leaves out cases where a sample is asked for.

    Each test starts its count elsewhere, so that what one test leaves out another one runs.
    """
    step = config.getoption("--sample")
    if step == 1:
        return
    cases = {}
    for item in items:
        if not is_run_whole(item):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = set()
    for name, group in cases.items():
        left_out.update(set(group) - set(group[chosen_cases(name, len(group), step)]))
    left_out |= slow_tests_left_out([item for item in items if item not in left_out])
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def is_run_whole(item):
    whole = (*RUN_WHOLE, LAWS) if keras.backend.backend() == "torch" else RUN_WHOLE
    return item.nodeid.startswith(whole)


def chosen_cases(name, count, step):
    """The slice of a test's cases that a sample runs."""
    is_law = name.startswith(LAWS)
    if count < (LAW_SHARE if is_law else FEW_CASES):
        return slice(None)
    if is_law:
        return slice(LAW_STARTS[keras.backend.backend()], None, LAW_SHARE)
    return slice(zlib.crc32(name.encode()) % min(step, count), None, step)


def slow_tests_left_out(items):
    """The slow tests that a sample does not run: most of those of each file."""
    files = {}
    for item in items:
        is_counted = not item.nodeid.startswith((*RUN_WHOLE, LAWS))
        if is_counted and item.get_closest_marker("slow"):
            files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    left_out = set()
    for name, group in files.items():
        start = zlib.crc32(name.encode()) % min(SLOW_SHARE, len(group))
        left_out |= set(group) - set(group[start::SLOW_SHARE])
    return left_out


def pytest_configure(config):
    # XLA compiles each of thousands of small programs for seconds: on TensorFlow only
    # decoding/test_jit_compile.py goes through it, and on JAX everything does.
    kt.decoding.set_jit_compile(False)
    # What the imports made stays: no collection of garbage has to walk through it again.
    gc.collect()
    gc.freeze()
    for warning in THIRD_PARTY_WARNINGS:
        config.addinivalue_line("filterwarnings", warning)


@pytest.fixture(autouse=True)
def same_start():
    """Every test starts from one seed, and leaves Keras's global policy as it found it."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(1013)
    yield
    keras.config.set_dtype_policy(policy)
    forget_written_gradients()
    if next(_finished_tests) % 250 == 0:
        forget_programs()


_finished_tests = itertools.count(1)
