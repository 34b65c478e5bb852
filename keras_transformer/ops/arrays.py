"""Conversion of NumPy arrays to tensors, so that both are accepted as in Keras's own ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

Tensor = Any


def to_tensors(*values: Any) -> list[Any]:
    """Converts NumPy arrays to tensors, since torch's operators reject arrays.

    Args:
        *values: Tensors, arrays, or None.

    Returns:
        The values in the same order; anything but arrays is unchanged.
    """
    return [
        ops.convert_to_tensor(value) if isinstance(value, (np.ndarray, np.generic)) else value
        for value in values
    ]
