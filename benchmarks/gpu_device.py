"""The GPU under the current backend: its name and peak, waiting for it, time and memory."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

# Dense bfloat16 operations with float32 accumulation, in TFLOP/s, by the name that the driver
# reports: "BFLOAT16 Tensor Core" in NVIDIA's data sheets of these products, where the number with
# sparsity, if it is the only one, is twice as large.
PEAK_TFLOPS = {
    "NVIDIA H200": 989.0,
    "NVIDIA H200 NVL": 835.5,
    "NVIDIA H100 80GB HBM3": 989.0,
    "NVIDIA H100 NVL": 835.5,
    "NVIDIA H100 PCIe": 756.5,
    "NVIDIA A100-SXM4-40GB": 312.0,
    "NVIDIA A100-SXM4-80GB": 312.0,
    "NVIDIA A100-PCIE-40GB": 312.0,
    "NVIDIA A100 80GB PCIe": 312.0,
    "NVIDIA A40": 149.7,
    "NVIDIA A10": 125.0,
    "NVIDIA L40S": 362.0,
    "NVIDIA L4": 121.0,
}
_BLOCKS, _BLOCK_SECONDS, _MOST_RUNS = 5, 0.1, 100


def backend_name() -> str:
    """The backend that Keras uses."""
    import keras

    return keras.backend.backend()


def gpu_name() -> str | None:
    """The name of the GPU that the current backend computes on; None if it has none."""
    backend = backend_name()
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return device.device_kind if device.platform in ("gpu", "cuda") else None
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return None
    return tf.config.experimental.get_device_details(devices[0]).get("device_name", "a GPU")


def wait_for(result: Any) -> Any:
    """Waits until a result, and all work that was begun before it, is complete."""
    backend = backend_name()
    if backend == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
    elif backend == "jax":
        import jax

        jax.block_until_ready(result)
    else:
        import tensorflow as tf

        tf.test.experimental.sync_devices()
    return result


def seconds_per_run(run: Callable[[], Any]) -> float:
    """Median time of a run, after the first ones, without waiting for each to end.

    Short runs are measured in blocks, so that the host is ahead of the GPU as it is in training.
    """
    wait_for(run())  # compiles
    started = time.perf_counter()
    wait_for(run())
    once = time.perf_counter() - started
    number = max(1, min(_MOST_RUNS, int(_BLOCK_SECONDS / max(once, 1e-6))))
    times = []
    for _ in range(_BLOCKS):
        started = time.perf_counter()
        for _ in range(number):
            result = run()
        wait_for(result)
        times.append((time.perf_counter() - started) / number)
        del result
    return statistics.median(times)


def peak_bytes(run: Callable[[], Any]) -> int | None:
    """Peak memory of the GPU during a run that is already compiled, minus what was held before.

    None without a GPU and on JAX, whose programs say themselves what they allocate.
    """
    backend = backend_name()
    if gpu_name() is None or backend == "jax":
        return None
    if backend == "torch":
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        wait_for(run())
        return torch.cuda.max_memory_allocated() - before
    import tensorflow as tf

    tf.test.experimental.sync_devices()
    tf.config.experimental.reset_memory_stats("GPU:0")
    before = tf.config.experimental.get_memory_info("GPU:0")["current"]
    wait_for(run())
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] - before


def release_memory() -> None:
    """Frees what a task that has ended, perhaps for lack of memory, still holds."""
    gc.collect()
    torch = sys.modules.get("torch")  # if anything has imported it
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def multiply_float32_exactly() -> None:
    """Turns off TF32, which rounds float32 to ten bits in matrix products, on TensorFlow.

    torch has it off by default, and for JAX it is an environment variable.
    """
    if backend_name() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
