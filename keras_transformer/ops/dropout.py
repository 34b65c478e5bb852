"""Dropout whose random numbers cost little."""

from __future__ import annotations

from typing import Any

import keras
from keras import backend

Tensor = Any


def dropout(inputs: Tensor, rate: float, seed: Any = None) -> Tensor:
    """Zeroes each entry with a probability, and scales the others so that the mean stays.

    As `keras.random.dropout`, but for torch on a CPU. There its random numbers take 8 % of the
    training step of `benchmarks/training_step.py`: a mask from 16 random bits an entry takes 2 %.

    Args:
        inputs: float tensor of any shape.
        rate: the probability, from 0 to below 1; in steps of 1 / 65,536 where the bits are 16.
        seed: an int or `keras.random.SeedGenerator`; None for the global one.

    Returns:
        A tensor as `inputs`.
    """
    if backend.backend() == "torch" and inputs.device.type == "cpu" and not _is_seeded(seed):
        return _with_16_bits(inputs, rate)
    return keras.random.dropout(inputs, rate, seed=seed)


def _is_seeded(seed):
    # Keras, too, draws from torch's own generator unless the user gave a seed.
    if isinstance(seed, keras.random.SeedGenerator):
        seed = seed.get_config()["seed"]
    return seed is not None


def _with_16_bits(inputs, rate):
    import torch

    kept = min(max(round((1.0 - rate) * 65536), 1), 65536)  # of 65,536 numbers
    if kept == 65536:
        return inputs
    # Four numbers are drawn at once, from -32,768 to 32,767.
    draws = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64)
    numbers = draws.random_(-(2**63), None).view(torch.int16)[: inputs.numel()]
    dropped = numbers.view(inputs.shape) >= kept - 32768
    return (inputs * (65536 / kept)).masked_fill_(dropped, 0.0)
