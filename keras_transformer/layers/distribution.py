"""Weights that a layout would split into unequal parts, which no device mesh can hold."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import keras


class _Weight(NamedTuple):
    path: str
    shape: tuple[int, ...]


def whole_if_uneven(path: str, shape: tuple[int, ...]) -> Any:
    """Returns a scope in which a weight is whole on every device if its layout does not divide it.

    Real vocabularies have sizes such as 50,257, and a model with one of them is to train over any
    mesh: what cannot be split is replicated.

    Args:
        path: that of the weight.
        shape: its shape.

    Returns:
        A context manager to make the weight in.
    """
    distribution = keras.distribution.distribution()
    if not isinstance(distribution, keras.distribution.ModelParallel):
        return contextlib.nullcontext()
    layout = distribution.get_variable_layout(_Weight(path, shape))
    mesh = layout.device_mesh
    if not uneven_axes(layout.axes, shape, mesh):
        return contextlib.nullcontext()
    whole = keras.distribution.ModelParallel(
        layout_map=keras.distribution.LayoutMap(mesh),
        batch_dim_name=distribution.batch_dim_name,
        auto_shard_dataset=distribution.auto_shard_dataset,
    )
    return whole.scope()


def uneven_axes(axes: tuple, shape: tuple[int, ...], mesh: Any) -> list[tuple[int, str, int]]:
    """Lists where a layout does not divide a shape: the tensor's axis, the mesh's, its size."""
    sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    pairs = zip(axes, shape, strict=False)
    return [
        (index, axis, sizes[axis])
        for index, (axis, size) in enumerate(pairs)
        if axis is not None and size % sizes[axis]
    ]
