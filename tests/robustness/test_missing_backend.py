"""Without a backend, the import says what to do."""

import os
import subprocess
import sys

import pytest

from tests.robustness import REPOSITORY

IMPORT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None  # makes its import fail
import keras_transformer
"""


def last_line(blocked, tmp_path, **variables):
    """The last line of what an import prints while modules are blocked."""
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    # This machine's keras.json is not read, so the default backend is TensorFlow.
    environment |= {"KERAS_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), **variables}
    command = [sys.executable, "-c", IMPORT, blocked]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    return result.stderr.strip().splitlines()[-1]


def test_no_tensorflow_and_no_choice(tmp_path):
    assert last_line("tensorflow", tmp_path) == (
        "ModuleNotFoundError: Keras needs a backend, but `tensorflow`, chosen by default or by "
        '"backend" in keras.json, since KERAS_BACKEND is not set, could not be imported. Install '
        'it with `pip install "keras-transformer-layers[tensorflow]"`, or set the environment '
        "variable KERAS_BACKEND=jax or KERAS_BACKEND=torch, which is installed, before Python "
        "starts."
    )


def test_only_one_other_is_installed(tmp_path):
    line = last_line("tensorflow,jax", tmp_path)
    assert "variable KERAS_BACKEND=torch, which is installed, before Python starts." in line


def test_a_chosen_backend_and_no_other(tmp_path):
    line = last_line("tensorflow,jax,torch", tmp_path, KERAS_BACKEND="jax")
    assert "`jax`, chosen by the environment variable KERAS_BACKEND=jax, could not" in line
    assert 'install JAX ("jax") or PyTorch ("torch") in the same way' in line


@pytest.mark.slow
def test_another_missing_module_keeps_its_error(tmp_path):
    line = last_line("rich", tmp_path, KERAS_BACKEND="torch")
    assert line.startswith("ModuleNotFoundError: import of rich halted")
