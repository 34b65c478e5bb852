"""Audit of a checkpoint: every tensor is used, equals a used one, is computed, or is rejected."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.families.family import Family


def find_tensors(family: Family, config: Config, wanted: Iterable[str], files: Any) -> dict:
    """Finds the tensors of a family's table in its files, and checks all others.

    Args:
        family: The architecture.
        config: The checkpoint's settings and tensor names.
        wanted: The sources in the family's table.
        files: The tensors, with a method `stored`.

    Returns:
        The names in the files, keyed by the names in the table; leftover tensors are keyed by
        their own names.

    Raises:
        ValueError: If a copy differs from the tensor it is tied to, a tensor differs from what the
            model computes, or one occurs twice; the message names it.
    """
    copies, left_out = family.copies(config), family.left_out(config)
    names = _own_names(family, config, {*wanted, *copies, *left_out})
    for name in [name for name in names if name not in wanted]:
        for pattern, holds in family.computed.items():
            if re.fullmatch(pattern, name):
                _check_computed(names[name], files.stored(names[name]), holds, config)
                del names[name]
                break
    for name in left_out:
        names.pop(name, None)
    for original in dict.fromkeys(copies.values()):
        group = (original, *(copy for copy, tied in copies.items() if tied == original))
        first, *others = [names.pop(name) for name in group if name in names] or [None]
        if first is not None:
            for other in others:
                _check_copy(first, other, files)
            names[original] = first
    return names


def _own_names(family, config, known):
    """Returns the names in the files, keyed by the family's names."""
    names: dict[str, str] = {}
    for name in config.tensor_names:
        full = name
        for pattern, replacement in family.renamed:
            full = re.sub(pattern, replacement, full)
        candidates = (full, f"{family.prefix}{full}")
        found = [one for one in candidates if one in known]
        found += [one for one in candidates if any(re.fullmatch(p, one) for p in family.computed)]
        full = found[0] if found else full
        if full in names:
            raise ValueError(
                f"The checkpoint must contain {full!r} once. Received: {names[full]!r} and "
                f"{name!r}."
            )
        names[full] = name
    return names


def _check_copy(first, other, files):
    one, copy = files.stored(first), files.stored(other)
    if one.shape != copy.shape:
        received = f"shapes {one.shape} and {copy.shape}"
    elif not np.array_equal(one.astype("float32"), copy.astype("float32"), equal_nan=True):
        gap = np.abs(one.astype("float32") - copy.astype("float32")).max()
        received = f"a maximum difference of {gap:.2g}"
    else:
        return
    raise ValueError(
        f"The tensors {first!r} and {other!r} must be equal, because the model ties them. "
        f"Received: {received}."
    )


def _check_computed(name, array, holds, config):
    if not holds(array, config):
        raise ValueError(
            f"The tensor {name!r} must contain the values that the model computes instead of "
            f"loading them. Received: different values, of shape {array.shape}."
        )


def counts_up(array: np.ndarray, config: Config) -> bool:
    """Returns whether an array holds the positions 0, 1, 2, ... as a row or a vector."""
    return array.shape in ((1, array.size), (array.size,)) and np.array_equal(
        array.ravel().astype("float64"), np.arange(array.size)
    )
