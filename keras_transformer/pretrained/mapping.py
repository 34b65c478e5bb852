"""Mapping between the tensors of files and the variables of models, checked on both sides.

A family lists, for each tensor of its files, the variables that it fills and how it stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.pretrained.weight_paths import variables_of


class Form(NamedTuple):
    """How a file stores the values of some variables.

    Attributes:
        split: Converts the array of the file to those of the variables.
        join: Converts the arrays of the variables to that of the file.
    """

    split: Callable[[np.ndarray], list[np.ndarray]]
    join: Callable[[list[np.ndarray]], np.ndarray]


SAME = Form(lambda array: [array], lambda arrays: arrays[0])
# torch's Linear stores (out, in), a Dense kernel (in, out).
TRANSPOSED = Form(lambda array: [array.T], lambda arrays: arrays[0].T)
# A vector that the file stores as one row.
ROW = Form(lambda array: [np.squeeze(array, 0)], lambda arrays: arrays[0][None])


def joint(count: int) -> Form:
    """Returns the form of several arrays concatenated along the last axis."""
    return Form(
        lambda array: np.split(array, count, axis=-1),
        lambda arrays: np.concatenate(arrays, axis=-1),
    )


def after_rows(count: int) -> Form:
    """Returns the form of a table whose first rows are unused; they are written as zeros."""

    def join(arrays):
        unused = np.zeros((count, *arrays[0].shape[1:]), arrays[0].dtype)
        return np.concatenate([unused, arrays[0]])

    return Form(lambda array: [array[count:]], join)


class Rule(NamedTuple):
    """Which variables of a model one tensor of a file fills.

    Attributes:
        source: The tensor's name in the file.
        targets: Paths of the variables, in the order of the form.
        form: How the tensor stores their values.
    """

    source: str
    targets: tuple[str, ...]
    form: Form = SAME


def linear(source: str, target: str, form: Form = TRANSPOSED) -> list[Rule]:
    """Returns the rules of a linear layer: its matrix and its bias."""
    return [
        Rule(f"{source}.weight", (f"{target}/kernel",), form),
        Rule(f"{source}.bias", (f"{target}/bias",)),
    ]


def norm(source: str, target: str) -> list[Rule]:
    """Returns the rules of a layer norm."""
    return [
        Rule(f"{source}.weight", (f"{target}/gamma",)),
        Rule(f"{source}.bias", (f"{target}/beta",)),
    ]


def rms_norm(source: str, target: str) -> Rule:
    """Returns the rule of an RMS norm, which has only a gain."""
    return Rule(f"{source}.weight", (f"{target}/scale",))


def attention(sources: Iterable[str], target: str) -> list[Rule]:
    """Returns the rules of attention with four linear layers: query, key, value and output."""
    parts = ("query", "key", "value", "output")
    return [
        rule
        for source, part in zip(sources, parts, strict=True)
        for rule in linear(source, f"{target}/{part}")
    ]


def assign(
    model: keras.Model,
    rules: list[Rule],
    names: Iterable[str],
    read: Callable[[str], np.ndarray],
) -> None:
    """Fills a model from a file, each variable exactly once.

    Args:
        model: A new model; after an error it is partly filled.
        rules: The table of its family.
        names: Names of all relevant tensors in the file.
        read: Reads one of them, so that they are never in memory all at once.

    Raises:
        ValueError: If a tensor is missing, left over or of another shape, or a variable is not
            filled.
    """
    names, variables = set(names), variables_of(model)
    wanted = {rule.source for rule in rules}
    if names != wanted:
        raise ValueError(
            "The checkpoint must contain exactly the tensors of its architecture. "
            f"{_listed('Missing', wanted - names)}. {_listed('Left over', names - wanted)}."
        )
    for rule in rules:
        targets = [variables.pop(path) for path in rule.targets]
        array = read(rule.source)
        arrays = _split(rule, array, [tuple(target.shape) for target in targets])
        for target, part in zip(targets, arrays, strict=True):
            target.assign(np.ascontiguousarray(part).astype(target.dtype, copy=False))
    if variables:
        raise ValueError(
            "The table of a family must fill every variable of its model. "
            f"{_listed('Not filled', variables)}."
        )


def _split(rule, array, shapes):
    # The expected shape of the tensor: that of the variables in this form.
    expected = rule.form.join([np.broadcast_to(np.float32(0), shape) for shape in shapes]).shape
    if array.shape != expected:
        raise ValueError(
            f"The tensor {rule.source!r} must have the shape {expected}. "
            f"Received: shape {array.shape}."
        )
    return rule.form.split(array)


def to_float32(weight: Any) -> np.ndarray:
    """Returns a weight as a float32 array, because NumPy has no bfloat16."""
    return ops.convert_to_numpy(ops.cast(ops.convert_to_tensor(weight), "float32"))


def _listed(word, names: Iterable[str]) -> str:
    names = sorted(names)
    if not names:
        return f"{word}: none"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{word}: {', '.join(names[:8])}{more}"
