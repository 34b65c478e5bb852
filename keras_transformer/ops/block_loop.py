"""Helpers for blockwise operations: a sequential loop and hand-written gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras import backend, ops

Tensor = Any


def repeat_blocks(first: int, end: Any, body: Callable, state: tuple) -> tuple:
    """Calls `state = body(index, *state)` for `index` from `first` to `end - 1`, sequentially.

    Args:
        first: The first index.
        end: One past the last index, an int or a scalar tensor.
        body: Takes the index (int32) and the tensors of the state; returns the new state.
        state: A tuple of tensors, whose shapes and dtypes must not change.

    Returns:
        The last state.
    """
    if backend.backend() == "torch":
        for index in range(first, int(end)):
            state = body(index, *state)
        return tuple(state)
    loop = ops.while_loop
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        # By default, TensorFlow runs up to 10 iterations at once and keeps them all in memory.
        loop = functools.partial(tf.while_loop, parallel_iterations=1)
    return loop(
        lambda index, *state: index < end,
        lambda index, *state: (index + 1, *body(index, *state)),
        (ops.convert_to_tensor(first, dtype="int32"), *state),
    )[1:]


def differentiate(
    forward: Callable, backward: Callable, differentiable: tuple, constants: Any
) -> tuple:
    """Calls `forward(differentiable, constants) -> (outputs, residuals)` with a custom gradient.

    Args:
        forward: Returns a tuple of output tensors, and the residuals that `backward` needs.
        backward: `backward(residuals, upstream)` takes one upstream gradient per output and returns
            the gradient of each differentiable tensor.
        differentiable: The tensors to differentiate with respect to.
        constants: A nest of tensors and None, without gradients.

    Returns:
        The outputs.
    """
    if backend.backend() == "jax":
        import jax

        in_jax = jax.custom_vjp(lambda *arguments: forward(*arguments)[0])
        in_jax.defvjp(forward, lambda *arguments: (tuple(backward(*arguments)), None))
        return in_jax(differentiable, constants)
    if backend.backend() == "torch":
        return _differentiate_in_torch(forward, backward, differentiable, constants)
    import tensorflow as tf

    @tf.custom_gradient
    def in_tensorflow(*differentiable):
        outputs, residuals = forward(differentiable, constants)
        return outputs, lambda *upstream: backward(residuals, upstream)

    # Pass tensors: TensorFlow would request the gradients of variables separately.
    return in_tensorflow(*(tf.convert_to_tensor(tensor) for tensor in differentiable))


def _differentiate_in_torch(forward, backward, differentiable, constants):
    import torch

    class InTorch(torch.autograd.Function):
        @staticmethod
        def forward(context, *differentiable):
            outputs, context.residuals = forward(differentiable, constants)
            return tuple(outputs)

        @staticmethod
        def backward(context, *upstream):
            return tuple(backward(context.residuals, upstream))

    return InTorch.apply(*differentiable)
