"""Dropout whose random numbers cost little."""

from __future__ import annotations

from typing import Any

import keras
from keras import backend

Tensor = Any


def dropout(inputs: Tensor, rate: float, seed: Any = None) -> Tensor:
    """Zeroes each entry with a probability, and scales the others so that the mean stays.

    As `keras.random.dropout`, but a mask takes 16 random bits an entry on TensorFlow, and on torch
    on a CPU: random numbers are what dropout costs, up to 8 % of a training step with Keras's.

    Args:
        inputs: float tensor of any shape.
        rate: the probability, from 0 to below 1; in steps of 1 / 65,536 where the bits are 16.
        seed: an int or `keras.random.SeedGenerator`; None for the global one.

    Returns:
        A tensor as `inputs`.
    """
    kept = min(max(round((1.0 - rate) * 65536), 1), 65536)  # of 65,536 numbers
    if backend.backend() == "torch" and inputs.device.type == "cpu" and not _is_seeded(seed):
        return _drop_in_torch(inputs, kept)
    if backend.backend() == "tensorflow" and isinstance(seed, keras.random.SeedGenerator):
        return _drop_in_tensorflow(inputs, kept, seed)
    return keras.random.dropout(inputs, rate, seed=seed)


def _is_seeded(seed):
    # Keras, too, draws from torch's own generator unless the user gave a seed.
    if isinstance(seed, keras.random.SeedGenerator):
        seed = seed.get_config()["seed"]
    return seed is not None


def _drop_in_torch(inputs, kept):
    import torch

    if kept == 65536:
        return inputs
    # Four numbers are drawn at once, from -32,768 to 32,767.
    draws = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64)
    numbers = draws.random_(-(2**63), None).view(torch.int16)[: inputs.numel()]
    dropped = numbers.view(inputs.shape) >= kept - 32768
    return (inputs * (65536 / kept)).masked_fill_(dropped, 0.0)


def _drop_in_tensorflow(inputs, kept, seed):
    import tensorflow as tf

    inputs, state = tf.convert_to_tensor(inputs), tf.cast(seed.next(), "int32")
    if kept == 65536:
        return inputs
    size = tf.size(inputs)
    # Two numbers are drawn at once, from 0 to 65,535.
    draws = tf.random.stateless_uniform(
        ((size + 1) // 2,), state, minval=None, maxval=None, dtype="uint32"
    )
    numbers = tf.reshape(tf.bitcast(draws, "uint16"), (-1,))[:size]
    is_kept = tf.reshape(tf.cast(numbers, "int32") < kept, tf.shape(inputs))
    output = tf.where(is_kept, inputs * tf.cast(65536 / kept, inputs.dtype), 0)
    output.set_shape(inputs.shape)
    return output
