"""Gradients of one output with respect to what a model reads, on the three backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.recording import Recorder, recording

Tensor = Any


class _Shifted(Recorder):
    """Recorder that adds a tensor to each reported embedding, even while gradients are traced.

    Args:
        root: The model.
        names: Names of the embeddings, one for each call, in the order of the calls.
        shifts: What to add; None to only store the embeddings.
    """

    def __init__(self, root: keras.Model, names: Sequence[str], shifts: Sequence[Tensor] | None):
        super().__init__(root, lambda name, tensor: None)
        self.names, self.shifts = set(names), shifts
        self.found: list[tuple[str, Tensor]] = []

    def report(self, name: str, tensor: Tensor) -> Tensor:
        name = "/".join([*self.path, name])
        if name not in self.names or isinstance(tensor, keras.KerasTensor):
            return tensor
        self.found.append((name, tensor))
        if self.shifts is None:
            return tensor
        return tensor + ops.cast(self.shifts[len(self.found) - 1], tensor.dtype)


def embedding_gradients(
    model: keras.Model, inputs: Any, names: Sequence[str], output: Callable[[Any], Tensor]
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Computes the gradient of a number with respect to every embedding that a call uses.

    Args:
        model: The model.
        inputs: The model's inputs.
        names: The names under which embeddings are reported, such as "token_embedding/embedding".
        output: Maps the model's output to a scalar.

    Returns:
        For each embedding, in the order of the calls: its name, its values and the gradient.
    """
    first = _Shifted(model, names, None)
    with recording(first):
        model(inputs, training=False)
    zeros = [ops.zeros(tensor.shape, "float32") for _, tensor in first.found]

    def total(shifts):
        with recording(_Shifted(model, names, shifts)):
            return ops.cast(output(model(inputs, training=False)), "float32")

    gradients = gradients_of(total, zeros)
    return [
        (name, _numbers(values), _numbers(gradient))
        for (name, values), gradient in zip(first.found, gradients, strict=True)
    ]


def gradients_of(function: Callable[[list[Tensor]], Tensor], values: list[Tensor]) -> list[Tensor]:
    """Returns the gradients of a scalar function of several tensors."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(values)
            result = function(values)
        return tape.gradient(result, values, unconnected_gradients="zero")
    if backend == "jax":
        import jax

        return jax.grad(function)(values)
    import torch

    with torch.enable_grad():
        leaves = [value.detach().clone().requires_grad_() for value in values]
        # Not `backward`, which would also write the gradients of the weights.
        return list(torch.autograd.grad(function(leaves), leaves, materialize_grads=True))


def _numbers(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
