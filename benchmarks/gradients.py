"""An output and its gradients, compiled the default way on the current backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def output_and_gradients(
    function: Callable[..., Any], inputs: list, upstream: Any, dtype: str | None = None
) -> tuple[Callable[[], list], int | None]:
    """Compiles a function and the gradients of its inputs.

    Args:
        function: Maps tensors to one tensor.
        inputs: Arrays.
        upstream: Array, the gradient of the output.
        dtype: Type of all tensors; None for that of the arrays.

    Returns:
        A function without arguments that returns the output and the gradients, and, on JAX, the
        bytes that its program allocates.
    """
    import keras

    # Once: a copy from the host in every run would be part of its time.
    arrays = (*inputs, upstream)
    *inputs, upstream = (keras.ops.convert_to_tensor(array, dtype=dtype) for array in arrays)
    backend = keras.backend.backend()
    if backend == "jax":
        return _with_jax(function, inputs, upstream)
    if backend == "torch":
        return _with_torch(function, inputs, upstream), None
    return _with_tensorflow(function, inputs, upstream), None


def _with_jax(function, inputs, upstream):
    import jax

    def both(inputs, upstream):
        output, pull = jax.vjp(function, *inputs)
        return [output, *pull(upstream)]

    program = jax.jit(both).lower(inputs, upstream).compile()
    plan = program.memory_analysis()
    planned = None if plan is None else plan.temp_size_in_bytes + plan.output_size_in_bytes
    return lambda: program(inputs, upstream), planned


def _with_torch(function, inputs, upstream):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]

    def both():
        import torch

        output = function(*inputs)
        return [output.detach(), *torch.autograd.grad(output, inputs, upstream)]

    return both


def _with_tensorflow(function, inputs, upstream):
    import tensorflow as tf

    @tf.function(autograph=False)
    def both(*tensors):
        *inputs, upstream = tensors
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = function(*inputs)
        return [output, *tape.gradient(output, inputs, upstream)]

    program = both.get_concrete_function(*inputs, upstream)
    return lambda: program(*inputs, upstream)
