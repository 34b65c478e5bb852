"""The error for a backend of Keras that is not installed."""

from __future__ import annotations

import importlib.util
import os

# KERAS_BACKEND, the modules and the extras of this package use the same names.
BACKENDS = ("tensorflow", "jax", "torch")


def missing_backend(error: ModuleNotFoundError) -> ModuleNotFoundError | None:
    """Returns the error to raise if Keras could not import its backend.

    Args:
        error: The error of `import keras`.

    Returns:
        An error that says how to install the backend or choose another one; None if the missing
        module is not a backend.
    """
    name = (error.name or "").partition(".")[0]
    if name not in BACKENDS:
        return None
    if "KERAS_BACKEND" in os.environ:
        chosen = f"by the environment variable KERAS_BACKEND={os.environ['KERAS_BACKEND']}"
    else:
        chosen = 'by default or by "backend" in keras.json, since KERAS_BACKEND is not set'
    others = [other for other in BACKENDS if other != name and importlib.util.find_spec(other)]
    if others:
        names = " or ".join(f"KERAS_BACKEND={other}" for other in others)
        change = f"set the environment variable {names}, which is installed, before Python starts"
    else:
        change = (
            'install JAX ("jax") or PyTorch ("torch") in the same way and set the environment '
            "variable KERAS_BACKEND to its name before Python starts"
        )
    return ModuleNotFoundError(
        f"Keras needs a backend, but `{name}`, chosen {chosen}, could not be imported. Install it "
        f'with `pip install "keras-transformer-layers[{name}]"`, or {change}.',
        name=name,
    )
