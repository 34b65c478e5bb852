"""Samplers, which choose the next token from the logits.

Shape letters: B batch, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from keras import ops

from keras_transformer.decoding.logit_filters import (
    check_positive_number,
    check_range,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    scale_temperature,
)
from keras_transformer.decoding.prompts import check_count
from keras_transformer.decoding.top_k import best_id

Tensor = Any


def greedy(logits: Tensor, uniform: Any = None) -> Tensor:
    """Chooses the most likely token; ties go to the lowest id.

    Args:
        logits: float (B, V).
        uniform: Unused; random samplers require it.

    Returns:
        int32 ids (B,).

    Example:
        >>> import keras, keras_transformer as kt
        >>> int(kt.decoding.greedy(keras.ops.convert_to_tensor([[0.1, 0.7, 0.2]]))[0])
        1
    """
    return best_id(logits)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draws tokens with the probabilities softmax(logits).

    Chooses the first token at which the cumulative probability exceeds `uniform`. Since the random
    numbers are an argument, the same numbers give the same tokens on every backend.

    Args:
        logits: float (B, V).
        uniform: float32 (B,), random numbers in [0, 1 - 2^-23].

    Returns:
        int32 ids (B,).

    Example:
        >>> import keras, keras_transformer as kt
        >>> logits = keras.ops.log(keras.ops.convert_to_tensor([[0.5, 0.2, 0.3]] * 3))
        >>> uniform = keras.ops.convert_to_tensor([0.4, 0.6, 0.9])
        >>> [int(token) for token in kt.decoding.draw(logits, uniform)]
        [0, 1, 2]
    """
    probabilities = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    summed = ops.cumsum(probabilities, axis=-1)
    passed = summed <= uniform[:, None] * summed[:, -1:]
    return ops.cast(ops.sum(ops.cast(passed, "int32"), axis=-1), "int32")


@dataclasses.dataclass(frozen=True)
class RandomSampler:
    """Random sampling with a temperature and optional filters.

    The filters apply in the order of the arguments, each to the output of the previous one.

    Args:
        temperature: The divisor of the logits, above 0.
        top_k: Keeps this many of the most likely tokens; None for all.
        top_p: Keeps the smallest set of most likely tokens with at least this total probability, in
            (0, 1]; None for all.
        min_p: Keeps tokens with at least this fraction of the highest probability, in [0, 1]; None
            for all.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> sampler = kt.decoding.RandomSampler(temperature=0.8, top_k=50, top_p=0.95)
        >>> sampler == kt.decoding.RandomSampler(temperature=0.8, top_k=50, top_p=0.95)
        True
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self):
        # Convert to Python numbers, so that equal samplers have equal hashes.
        values: dict[str, Any] = {
            "temperature": check_positive_number("temperature", self.temperature)
        }
        if self.top_k is not None:
            values["top_k"] = check_count("top_k", self.top_k, 1)
        if self.top_p is not None:
            check_range("top_p", self.top_p, 0 < self.top_p <= 1, "in (0, 1]")
            values["top_p"] = float(self.top_p)
        if self.min_p is not None:
            check_range("min_p", self.min_p, 0 <= self.min_p <= 1, "in [0, 1]")
            values["min_p"] = float(self.min_p)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __call__(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Chooses ids (B,) from logits (B, V), with one random number in [0, 1) per row (B,)."""
        logits = scale_temperature(logits, self.temperature)
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return draw(logits, uniform)


class TopK(RandomSampler):
    """Random sampling from the k most likely tokens (top-k sampling).

    Args:
        k: The number of tokens, at least 1.
        temperature: The divisor of the logits, above 0.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.TopK(50, temperature=0.8).top_k
        50

    Reference:
        Fan, Lewis and Dauphin 2018, "Hierarchical Neural Story Generation", section 5.1.
    """

    def __init__(self, k: int, temperature: float = 1.0):
        super().__init__(temperature, top_k=k)


class TopP(RandomSampler):
    """Random sampling from the smallest set with total probability p (nucleus sampling).

    Args:
        p: The total probability, in (0, 1].
        temperature: The divisor of the logits, above 0.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.TopP(0.9, temperature=0.8).top_p
        0.9

    Reference:
        Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    """

    def __init__(self, p: float, temperature: float = 1.0):
        super().__init__(temperature, top_p=p)


class MinP(RandomSampler):
    """Random sampling from tokens with at least p times the highest probability (min-p sampling).

    Args:
        p: The fraction of the highest probability, in [0, 1].
        temperature: The divisor of the logits, above 0.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.MinP(0.1).min_p
        0.1

    Reference:
        Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM
        Outputs", section 4.
    """

    def __init__(self, p: float, temperature: float = 1.0):
        super().__init__(temperature, min_p=p)


_SAMPLERS: dict[str, Callable] = {
    "greedy": greedy,
    "random": RandomSampler(),
    "top_k": TopK(50),
    "top_p": TopP(0.9),
    "min_p": MinP(0.1),
}


def get_sampler(sampler: str | Callable) -> Callable:
    """Returns a sampler by name, or a callable `(logits, uniform) -> ids` unchanged.

    Args:
        sampler: "greedy", "random", "top_k" (k = 50), "top_p" (p = 0.9), "min_p" (p = 0.1), or a
            callable.

    Returns:
        The callable.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.get_sampler("greedy") is kt.decoding.greedy
        True
    """
    if callable(sampler):
        return sampler
    if not isinstance(sampler, str) or sampler not in _SAMPLERS:
        raise ValueError(
            f"`sampler` must be one of {sorted(_SAMPLERS)} or a callable. "
            f"Received: sampler={sampler!r}."
        )
    return _SAMPLERS[sampler]
