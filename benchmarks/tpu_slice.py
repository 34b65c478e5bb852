"""A TPU slice that is only described: its devices, planned arrays, and programs compiled for it."""

from __future__ import annotations

import time
from typing import Any

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tpu_results import count_collectives, needed_memory
from tpu_rows import GRIDS

import keras_transformer as kt


class Planned(jax.ShapeDtypeStruct):
    """The result of a program that never ran; Python code that looks at it sees zeros."""

    def __int__(self) -> int:
        return 0

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.zeros(self.shape, dtype or self.dtype)


def slice_devices(chip: str, chips: int) -> list:
    """The described chips of a slice.

    Args:
        chip: The kind of chip, such as "v5e".
        chips: The number of chips, a key of `GRIDS`.
    """
    from jax.experimental import topologies

    name = f"{chip}:{GRIDS[chips]}"
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    return list(devices)[:chips]


def distribution_over(devices: list, model_axis: int) -> Any:
    """The Keras distribution over some devices, as a training script would set it.

    Args:
        devices: Devices, or their names.
        model_axis: Number of devices that share the weights; 1 to split only the batch.
    """
    if model_axis == 1:
        mesh = keras.distribution.DeviceMesh((len(devices),), ("batch",), devices)
        return keras.distribution.DataParallel(device_mesh=mesh, auto_shard_dataset=False)
    shape = (len(devices) // model_axis, model_axis)
    mesh = keras.distribution.DeviceMesh(shape, ("batch", "model"), devices)
    layouts = kt.training.layout_map(mesh)
    return keras.distribution.ModelParallel(layout_map=layouts, auto_shard_dataset=False)


def planned(array: Any, mesh: Any) -> Planned:
    """The array of a mesh that is split like an array on another mesh with the same axes."""
    split = isinstance(array.sharding, NamedSharding)
    spec = array.sharding.spec if split else PartitionSpec()
    return Planned(array.shape, array.dtype, sharding=NamedSharding(mesh, spec))


def planned_rows(shape: tuple[int, ...], dtype: Any, distribution: Any) -> Planned:
    """A batch whose rows are split over the devices of a distribution."""
    layout = distribution.get_data_layout(shape)
    return Planned(shape, dtype, sharding=layout.backend_layout)


def compile_program(lowered: Any) -> tuple[dict, Any]:
    """Compiles a program, and returns what it needs and the shardings of its results.

    Returns:
        If it fits into memory, the bytes of a chip for arguments and temporaries, the number of
        collective operations by kind, and the seconds that the compilation took; otherwise the
        bytes that it would need, and None instead of the shardings.
    """
    started = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        seconds = time.perf_counter() - started
        return {"fits": False, "needs": needed_memory(str(error)), "seconds": seconds}, None
    seconds = time.perf_counter() - started
    memory = compiled.memory_analysis()
    result = {
        "fits": True,
        "arguments": memory.argument_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "outputs": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "collectives": count_collectives(compiled.as_text()),
        "seconds": seconds,
    }
    return result, compiled.output_shardings
