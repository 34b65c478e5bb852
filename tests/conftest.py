"""What all tests share: the default backend, quiet logs, one random seed a test."""

import gc
import itertools
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if os.environ["KERAS_BACKEND"] == "jax":
    from tests.jax_settings import JAX_SETTINGS

    for name, value in JAX_SETTINGS.items():
        os.environ.setdefault(name, value)

import keras  # noqa: E402
import pytest  # noqa: E402

import keras_transformer as kt  # noqa: E402

# Warnings are errors; these come from the libraries below and are not ours to mend.
THIRD_PARTY_WARNINGS = [
    # Keras reads torch tensors with np.array(..., copy=...), which torch does not know yet.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
]


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
    forget_programs()


def forget_written_gradients():
    """Lets go of the graphs of a finished test.

    TensorFlow registers the gradient of each `tf.custom_gradient` in a graph for good, and Keras
    writes one into every training step: after some hundred models, gigabytes.
    """
    if keras.backend.backend() != "tensorflow":
        return
    from tensorflow.python.framework import ops

    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]


_finished_tests = itertools.count(1)


def forget_programs():
    """Lets JAX unload its compiled programs now and then.

    Each takes some mappings of memory, of which Linux gives a process 65,530: one that runs several
    folders of tests would crash in the midst of a compilation.
    """
    if keras.backend.backend() == "jax" and next(_finished_tests) % 250 == 0:
        import jax

        jax.clear_caches()
        gc.collect()
