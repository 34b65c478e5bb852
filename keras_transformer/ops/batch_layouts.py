"""How the rows of a batch are split over the devices of a Keras distribution, on JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any


def batch_parts(num_rows: int) -> int:
    """Returns the number of parts into which the distribution splits a batch.

    Args:
        num_rows: The size of the first axis.

    Returns:
        1 if no distribution is set, the batch is not split, or the parts would be unequal.
    """
    distribution = keras.distribution.distribution()
    if distribution is None or keras.backend.backend() != "jax":
        return 1
    mesh = distribution.device_mesh
    parts = mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)]
    return 1 if num_rows % parts else parts


def batch_layout(shape: tuple[int, ...]) -> Any:
    """Returns the layout that splits the first axis of a tensor like a batch in `fit`.

    Args:
        shape: The tensor's shape.

    Returns:
        A `keras.distribution.TensorLayout`; None for a tensor that all devices have in full.
    """
    if not shape or batch_parts(shape[0]) == 1:
        return None
    return keras.distribution.distribution().get_data_layout(shape)


def split_rows(tensor: Tensor) -> Tensor:
    """Splits the rows of a JAX array from the host over the devices that share a batch.

    Args:
        tensor: An array. It stays as it is if it is on several devices already, or if several
            processes share the distribution.

    Returns:
        The same values.
    """
    layout = batch_layout(tensor.shape)
    if layout is None:  # asked first: every decoding call without a distribution comes here
        return tensor
    import jax

    if len(tensor.sharding.device_set) > 1 or jax.process_count() > 1:
        return tensor
    return keras.distribution.distribute_tensor(tensor, layout)


def map_parts(function: Callable[..., Any], tensors: tuple, parts: int) -> Any:
    """Calls a function on each part of a batch, on the devices that have this part.

    A loop over slices of the batch would gather the batch on every device, and repeat the work of
    each slice on all of them; here each device loops over its own rows.

    Args:
        function: Takes one tensor for each of `tensors`.
        tensors: JAX tensors with the same number of rows.
        parts: The result of `batch_parts`, more than 1.

    Returns:
        What the function returns, with a new first axis of size `parts`.
    """
    import jax

    distribution = keras.distribution.distribution()

    def split(tensor):
        tensor = ops.reshape(tensor, (parts, -1, *tensor.shape[1:]))
        layout = distribution.get_data_layout(tensor.shape)
        return keras.distribution.distribute_tensor(tensor, layout)

    return jax.vmap(function)(*map(split, tensors))
