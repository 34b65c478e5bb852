"""Whether weights and optimizer states are finite."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops


def first_not_finite(model: keras.Model) -> str | None:
    """Finds a weight or an optimizer variable that contains NaN or infinity.

    Args:
        model: A model, compiled or not.

    Returns:
        Its path, in quotes, or None if all are finite.
    """
    optimizer = getattr(model, "optimizer", None)
    return first_not_finite_weight(model) or (
        None if optimizer is None else _first(optimizer.variables)
    )


def first_not_finite_weight(model: keras.Model) -> str | None:
    """Returns the path of a weight that contains NaN or infinity, in quotes, or None."""
    return _first(model.weights)


def _first(variables):
    variables = [v for v in variables if "float" in keras.backend.standardize_dtype(v.dtype)]
    index = first_not_finite_of(variable.value for variable in variables)
    return None if index is None else f"the variable {variables[index].path!r}"


def first_not_finite_of(tensors: Iterable[Any]) -> int | None:
    """Returns the index of the first tensor with NaN or infinity, None if all are finite."""
    flags = [ops.all(ops.isfinite(tensor)) for tensor in tensors]
    # All at once, because Python waits for the device at each number that it reads.
    finite = np.array(ops.convert_to_numpy(ops.stack(flags))) if flags else np.ones(0, bool)
    return None if finite.all() else int(finite.argmin())
