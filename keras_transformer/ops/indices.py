"""Indices of a single integer type."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import backend, ops

Tensor = Any


def same_type(*indices: Any) -> tuple:
    """Converts a set of indices to int32 if any of them is a tensor.

    JAX rejects mixed types, and with `jax_enable_x64` a Python integer has 64 bits.

    Args:
        *indices: Integers and scalar integer tensors.

    Returns:
        A tuple of the same length.
    """
    if not any(ops.is_tensor(index) for index in indices):
        return indices
    return tuple(_as_int32(index) for index in indices)


def _as_int32(index):
    if not ops.is_tensor(index):
        return np.int32(index)
    return index if backend.standardize_dtype(index.dtype) == "int32" else ops.cast(index, "int32")
