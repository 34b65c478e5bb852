"""Dropout with cheap random numbers."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import backend, ops

Tensor = Any


def dropout(inputs: Tensor, rate: float, seed: Any = None) -> Tensor:
    """Zeroes entries at random and scales the others to preserve the mean.

    Like `keras.random.dropout`, whose random numbers take up to 8% of a training step on a CPU.
    Here, on TensorFlow and JAX, they are a hash of the entry's index (see `kept_entries`), which
    XLA fuses; on torch on a CPU, they are 16 bits per entry from torch's own generator.

    Args:
        inputs: Float tensor of any shape.
        rate: Probability of dropping an entry, in [0, 1); on torch in steps of 1 / 65,536.
        seed: An int or `keras.random.SeedGenerator`; None for the global one.

    Returns:
        A tensor of the shape and dtype of `inputs`.
    """
    on_torch = backend.backend() == "torch"
    if on_torch and inputs.device.type == "cpu" and not _is_seeded(seed):
        return _with_16_bits(inputs, rate)
    if on_torch or not isinstance(seed, keras.random.SeedGenerator):
        return keras.random.dropout(inputs, rate, seed=seed)
    inputs = ops.convert_to_tensor(inputs)
    kept = kept_entries(seed.next(), ops.shape(inputs), rate)
    scaled = inputs * ops.cast(1.0 / (1.0 - rate), inputs.dtype)
    return ops.where(kept, scaled, ops.zeros((), dtype=inputs.dtype))


def kept_entries(state: Tensor, shape: tuple, rate: float) -> Tensor:
    """Returns a random mask of the entries that dropout keeps.

    The index of each entry is combined with two keys derived from the state, before and after
    hashing. Different states give different masks, and all entries are computed independently.

    Args:
        state: Unsigned integers (2,), the state of a `keras.random.SeedGenerator`.
        shape: Shape of the mask, with fewer than 2**31 entries.
        rate: Probability of dropping an entry, in [0, 1).

    Returns:
        A boolean tensor of the given shape.

    Reference:
        Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", for counter-based random
        numbers; Wellons 2018, "Prospecting for Hash Functions", for the hash ("lowbias32").
    """
    state = ops.cast(state, "uint32")
    first = _hash(ops.add(state[0], _hash(state[1])))
    second = _hash(ops.add(first, _hash(ops.add(first, state[1]))))
    places = ops.cast(ops.arange(math.prod(shape), dtype="int32"), "uint32")
    places = ops.reshape(places, shape)
    numbers = ops.add(_hash(ops.bitwise_xor(places, first)), second)
    return ops.less_equal(numbers, _unsigned(min(round((1.0 - rate) * 2**32), 2**32) - 1))


def _hash(x):
    x = ops.bitwise_xor(x, ops.right_shift(x, _unsigned(16)))
    x = ops.multiply(x, _unsigned(0x7FEB352D))
    x = ops.bitwise_xor(x, ops.right_shift(x, _unsigned(15)))
    x = ops.multiply(x, _unsigned(0x846CA68B))
    return ops.bitwise_xor(x, ops.right_shift(x, _unsigned(16)))


def _unsigned(number):
    return ops.convert_to_tensor(np.uint32(number))


def _is_seeded(seed):
    # Keras also draws from torch's own generator unless the user set a seed.
    if isinstance(seed, keras.random.SeedGenerator):
        seed = seed.get_config()["seed"]
    return seed is not None


def _with_16_bits(inputs, rate):
    import torch

    kept = min(max(round((1.0 - rate) * 65536), 1), 65536)  # of 65,536 numbers
    if kept == 65536:
        return inputs
    # Each 64-bit draw yields four numbers from -32,768 to 32,767.
    draws = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64)
    numbers = draws.random_(-(2**63), None).view(torch.int16)[: inputs.numel()]
    dropped = numbers.view(inputs.shape) >= kept - 32768
    return (inputs * (65536 / kept)).masked_fill_(dropped, 0.0)
