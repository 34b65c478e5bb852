"""Gradients of a batch's loss with respect to a model's weights, outside of `fit`."""

from __future__ import annotations

from typing import Any

import keras

Tensor = Any


def weight_gradients(
    model: keras.Model, inputs: Any, labels: Any, sample_weight: Any = None
) -> list[Tensor | None]:
    """Computes the gradients of one batch, without compilation and with dropout.

    Args:
        model: A compiled model.
        inputs: The inputs of the batch.
        labels: Its labels.
        sample_weight: Its sample weights, or None.

    Returns:
        The gradient of each trainable variable, None where the loss does not depend on it.
    """
    variables = model.trainable_variables

    def loss():
        outputs = model(inputs, training=True)
        return model.compute_loss(inputs, labels, outputs, sample_weight)

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _with_tensorflow(loss, variables)
    if backend == "jax":
        return _with_jax(loss, variables)
    import torch

    with torch.enable_grad():
        # Not `backward`, which would add to the gradients that the weights store.
        values = [variable.value for variable in variables]
        return list(torch.autograd.grad(loss(), values, allow_unused=True))


def _with_tensorflow(loss, variables):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        result = loss()
    gradients = tape.gradient(result, [variable.value for variable in variables])
    # Embeddings of Keras have sparse gradients.
    return [None if one is None else tf.convert_to_tensor(one) for one in gradients]


def _with_jax(loss, variables):
    import jax

    def of_values(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return loss()

    return jax.grad(of_values)([variable.value for variable in variables])
