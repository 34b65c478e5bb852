"""The one engine of all checkpoints: a table of names, and an audit of both sides.

A family lists for each tensor of its files the variables that it fills and the form in which it
holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.pretrained.paths import variables_of


class Form(NamedTuple):
    """How a file holds what some variables hold, and back.

    Attributes:
        split: from the array of the file to those of the variables.
        join: from the arrays of the variables to that of the file.
    """

    split: Callable[[np.ndarray], list[np.ndarray]]
    join: Callable[[list[np.ndarray]], np.ndarray]


SAME = Form(lambda array: [array], lambda arrays: arrays[0])
# torch's Linear holds (out, in), a Dense kernel (in, out).
TRANSPOSED = Form(lambda array: [array.T], lambda arrays: arrays[0].T)
# A vector that the file holds as one row.
ROW = Form(lambda array: [np.squeeze(array, 0)], lambda arrays: arrays[0][None])


def joint(count: int) -> Form:
    """The form of several arrays, one after the other along the last axis."""
    return Form(
        lambda array: np.split(array, count, axis=-1),
        lambda arrays: np.concatenate(arrays, axis=-1),
    )


class Rule(NamedTuple):
    """One tensor of a file.

    Attributes:
        source: its name in the file.
        targets: the paths of the variables that it fills, in the order of its form.
        form: how it holds them.
    """

    source: str
    targets: tuple[str, ...]
    form: Form = SAME


def linear(source: str, target: str, form: Form = TRANSPOSED) -> list[Rule]:
    """The rules of a linear layer: its matrix and its bias."""
    return [
        Rule(f"{source}.weight", (f"{target}/kernel",), form),
        Rule(f"{source}.bias", (f"{target}/bias",)),
    ]


def norm(source: str, target: str) -> list[Rule]:
    """The rules of a layer norm."""
    return [
        Rule(f"{source}.weight", (f"{target}/gamma",)),
        Rule(f"{source}.bias", (f"{target}/beta",)),
    ]


def attention(sources: Iterable[str], target: str) -> list[Rule]:
    """The rules of an attention from four linear layers: query, key, value and output."""
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
        model: a new model: after an error it is half filled.
        rules: the table of its family.
        names: the names of all tensors of the file that matter.
        read: reads one of them, one at a time so that they never are in memory together.

    Raises:
        ValueError: a tensor is missing, left over or of another shape, or a variable is left.
    """
    names, variables = set(names), variables_of(model)
    wanted = {rule.source for rule in rules}
    if names != wanted:
        raise ValueError(
            "The checkpoint must hold exactly the tensors of its architecture. "
            f"{_listed('Missing', wanted - names)} {_listed('Left over', names - wanted)}"
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
            f"{_listed('Left', variables)}"
        )


def _split(rule, array, shapes):
    # What the shape of the tensor should be: that of the same form filled from the variables.
    expected = rule.form.join([np.broadcast_to(np.float32(0), shape) for shape in shapes]).shape
    if array.shape != expected:
        raise ValueError(
            f"The tensor {rule.source!r} must have the shape {expected}. "
            f"Received: shape {array.shape}."
        )
    return rule.form.split(array)


def to_float32(weight: Any) -> np.ndarray:
    """The values of a weight; bfloat16 is no number to numpy."""
    return ops.convert_to_numpy(ops.cast(ops.convert_to_tensor(weight), "float32"))


def _listed(word, names: Iterable[str]) -> str:
    names = sorted(names)
    if not names:
        return f"{word}: none."
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{word}: {', '.join(names[:8])}{more}."
