"""Replication of weights that cannot be sharded because a layout does not divide them evenly."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import keras


class _Weight(NamedTuple):
    path: str
    shape: tuple[int, ...]


def whole_if_uneven(path: str, shape: tuple[int, ...]) -> Any:
    """Returns a scope that replicates a weight if its layout does not divide its shape evenly.

    This lets models with vocabulary sizes such as 50,257 train on any mesh.

    Args:
        path: The weight's path.
        shape: The weight's shape.

    Returns:
        A context manager in which to create the weight.
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
    """Lists the axes that a layout does not divide: tensor axis, mesh axis, size of the latter."""
    sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    pairs = zip(axes, shape, strict=False)
    return [
        (index, axis, sizes[axis])
        for index, (axis, size) in enumerate(pairs)
        if axis is not None and size % sizes[axis]
    ]
