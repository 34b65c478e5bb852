"""NumPy arrays where tensors are expected, as Keras's own operations take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

Tensor = Any


def to_tensors(*values: Any) -> list[Any]:
    """Makes tensors of the NumPy arrays among some values; torch's operators refuse them.

    Args:
        *values: tensors, arrays, or None.

    Returns:
        The values, in their order.
    """
    return [
        ops.convert_to_tensor(value) if isinstance(value, (np.ndarray, np.generic)) else value
        for value in values
    ]
