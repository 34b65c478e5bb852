"""Logit filters: composable pure functions from logits (B, V) to logits (B, V).

Shape letters: B batch, L length of a history, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any


def lowest(dtype: Any) -> float:
    """Returns a finite value of the dtype that is low enough for its exponential to be 0."""
    return -6e4 if keras.backend.standardize_dtype(dtype) == "float16" else -1e30


def least_logit() -> float:
    """Returns the lowest float32 logit allowed from a model, above those of banned ids."""
    return lowest("float32") / 10


def worst_score() -> float:
    """Returns a score below that of any hypothesis but above that of one with a banned token."""
    return least_logit() / 10


def check_range(name: str, value: Any, holds: bool, range_: str) -> None:
    """Raises a ValueError unless `holds`."""
    if not holds:
        raise ValueError(f"`{name}` must be {range_}. Received: {name}={value}.")


def check_positive_number(name: str, value: Any) -> float:
    """Returns a number of any type as a `float`; raises unless it is finite and positive."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    check_range(name, value, 0 < number < math.inf, "more than 0 and finite")
    return number


def _keep(logits, kept):
    return ops.where(kept, logits, ops.cast(lowest(logits.dtype), logits.dtype))


def ban_ids(logits: Tensor, banned_ids: Sequence[int]) -> Tensor:
    """Bans ids.

    Args:
        logits: float (B, V).
        banned_ids: Ids that must not be chosen.

    Returns:
        (B, V), with a very low, finite value at the banned ids.

    Example:
        >>> import keras, keras_transformer as kt
        >>> int(keras.ops.argmax(kt.decoding.ban_ids(keras.ops.ones((1, 3)), [0]))) == 0
        False
    """
    if not len(banned_ids):
        return logits
    width = logits.shape[-1]
    in_range = all(0 <= token_id < width for token_id in banned_ids)
    check_range("banned_ids", banned_ids, in_range, f"in the range [0, {width})")
    allowed = np.ones(width, dtype=bool)
    allowed[list(banned_ids)] = False
    return _keep(logits, allowed)


def scale_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divides logits by a temperature: above 1 flattens the distribution, below 1 sharpens it.

    Args:
        logits: float (B, V).
        temperature: A number above 0. Below 1e-3, the largest logit is subtracted first.

    Returns:
        (B, V).

    Example:
        >>> import keras, keras_transformer as kt
        >>> float(kt.decoding.scale_temperature(keras.ops.convert_to_tensor([[3.0]]), 2.0)[0, 0])
        1.5
    """
    temperature = check_positive_number("temperature", temperature)
    if temperature == 1.0:
        return logits
    if temperature < 1e-3:  # so that the largest logits stay finite
        logits = logits - ops.max(logits, axis=-1, keepdims=True)
        temperature = max(temperature, 1e-30)
    scaled = logits / temperature
    if temperature <= 1e6:
        return scaled
    return ops.where(logits <= lowest(logits.dtype) / 2, logits, scaled)  # still banned


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keeps the k most likely ids; ties go to the lower ids.

    Args:
        logits: float (B, V).
        k: The number of ids, at least 1.

    Returns:
        (B, V), with a very low, finite value elsewhere.

    Example:
        >>> import keras, keras_transformer as kt
        >>> kept = kt.decoding.keep_top_k(keras.ops.convert_to_tensor([[3.0, 1.0, 2.0]]), 2)
        >>> [round(float(p), 2) for p in keras.ops.softmax(kept)[0]]
        [0.73, 0.0, 0.27]

    Reference:
        Fan, Lewis and Dauphin 2018, "Hierarchical Neural Story Generation", section 5.1.
    """
    check_range("k", k, k >= 1, "at least 1")
    if k >= logits.shape[-1]:
        return logits
    least = ops.top_k(logits, k)[0][:, -1:]
    return _keep(logits, _best(logits, least, k))


def _best(values, least, count):
    """Returns a mask of the `count` largest values (B, V), the least of which is given (B, 1)."""
    above, equal = values > least, ops.equal(values, least)
    # Count in floats, which are faster to sum on CPUs and exact up to 2^24.
    needed = count - ops.sum(ops.cast(above, "float32"), axis=-1, keepdims=True)
    place = ops.cumsum(ops.cast(equal, "float32"), axis=-1)  # from 1
    return ops.logical_or(above, ops.logical_and(equal, place <= needed))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the smallest set of most likely ids with a total probability of at least p.

    Ties go to the lower ids. Sums within a millionth of p count as p, to allow for rounding.

    Args:
        logits: float (B, V).
        p: The total probability, in (0, 1]; 1 keeps all ids.

    Returns:
        (B, V), with a very low, finite value elsewhere.

    Example:
        >>> import keras, keras_transformer as kt
        >>> logits = keras.ops.log(keras.ops.convert_to_tensor([[0.5, 0.2, 0.3]]))
        >>> kept = kt.decoding.keep_top_p(logits, 0.6)
        >>> [round(float(p), 3) for p in keras.ops.softmax(kept)[0]]
        [0.625, 0.0, 0.375]

    Reference:
        Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    """
    check_range("p", p, 0 < p <= 1, "in (0, 1]")
    if p == 1.0:
        return logits
    probabilities = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    descending = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    before = ops.cumsum(descending, axis=-1) - descending  # total of the more likely ids
    is_needed = before < p * (1.0 - 1e-6)
    count = ops.sum(ops.cast(is_needed, "float32"), axis=-1, keepdims=True)
    least = ops.min(ops.where(is_needed, descending, 2.0), axis=-1, keepdims=True)
    return _keep(logits, _best(probabilities, least, count))


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keeps ids with at least p times the probability of the most likely one.

    Args:
        logits: float (B, V).
        p: The fraction of the highest probability, in [0, 1]; 0 keeps all ids.

    Returns:
        (B, V), with a very low, finite value elsewhere.

    Example:
        >>> import keras, keras_transformer as kt
        >>> logits = keras.ops.log(keras.ops.convert_to_tensor([[0.6, 0.1, 0.3]]))
        >>> kept = kt.decoding.keep_min_p(logits, 0.4)
        >>> [round(float(p), 3) for p in keras.ops.softmax(kept)[0]]
        [0.667, 0.0, 0.333]

    Reference:
        Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM
        Outputs", section 4.
    """
    check_range("p", p, 0 <= p <= 1, "in [0, 1]")
    if p == 0.0:
        return logits
    gap = float(np.log(p))
    return _keep(logits, logits - ops.max(logits, axis=-1, keepdims=True) >= gap)


def penalize_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Penalizes used ids: divides their positive logits and multiplies their negative ones.

    Args:
        logits: float (B, V).
        seen: boolean (B, V), True for the ids used so far.
        penalty: A number above 0; 1 has no effect, larger values discourage repetition.

    Returns:
        (B, V).

    Example:
        >>> import keras, keras_transformer as kt
        >>> logits = keras.ops.convert_to_tensor([[2.0, -1.0, 1.0]])
        >>> seen = keras.ops.convert_to_tensor([[True, True, False]])
        >>> [float(x) for x in kt.decoding.penalize_repetition(logits, seen, 2.0)[0]]
        [1.0, -2.0, 1.0]

    Reference:
        Keskar et al. 2019, "CTRL: A Conditional Transformer Language Model for Controllable
        Generation", section 4.1.
    """
    penalty = check_positive_number("penalty", penalty)
    if penalty == 1.0:
        return logits
    penalized = ops.where(logits > 0, logits / penalty, logits * penalty)
    return ops.where(seen, penalized, logits)


def ban_repeated_ngrams(logits: Tensor, history: Tensor, length: Any, size: int) -> Tensor:
    """Bans ids that would complete an n-gram already in the history.

    Args:
        logits: float (B, V), for the id that follows the history.
        history: int (B, L), the previous ids; negative ids are not part of any n-gram.
        length: The number of filled columns of `history`, an int or a scalar integer tensor.
        size: The n of the n-grams; 0 bans nothing.

    Returns:
        (B, V), with a very low, finite value at the banned ids.

    Example:
        >>> import keras, keras_transformer as kt
        >>> history = keras.ops.convert_to_tensor([[1, 2, 3, 1, 2]])
        >>> banned = kt.decoding.ban_repeated_ngrams(keras.ops.zeros((1, 5)), history, 5, size=3)
        >>> [float(x) < -1e29 for x in banned[0]]
        [False, False, False, True, False]

    Reference:
        Paulus, Xiong and Socher 2017, "A Deep Reinforced Model for Abstractive Summarization",
        section 2.5.
    """
    slots = history.shape[1] if history.shape[1] is not None else ops.shape(history)[1]
    if size < 1:
        return logits
    num_windows = slots - size + 1
    # A shorter history has no windows.
    num_windows = max(num_windows, 0) if isinstance(slots, int) else ops.maximum(num_windows, 0)
    ends = ops.arange(num_windows, dtype="int32") + (size - 1)  # each window's last column
    repeated = ops.broadcast_to(ends[None] < length, (ops.shape(history)[0], num_windows))
    for offset in range(size - 1):
        # The latest ids, which must equal the start of a window; too short histories match none.
        column = ops.maximum(length - (size - 1) + offset, 0)
        latest = ops.take(history, ops.reshape(column, (1,)), axis=1)  # (B, 1)
        window = history[:, offset : offset + num_windows]
        repeated = ops.logical_and(repeated, ops.equal(window, latest))
        repeated = ops.logical_and(repeated, window >= 0)
    repeated = ops.logical_and(repeated, length >= size)
    completing = ops.where(repeated, history[:, size - 1 :], -1)  # (B, number of windows)
    return _keep(logits, ops.logical_not(used_ids(completing, logits.shape[-1])))


def used_ids(history: Tensor, vocabulary_size: int) -> Tensor:
    """Marks the ids that occur in a history.

    Args:
        history: int (B, L); negative ids are ignored.
        vocabulary_size: V.

    Returns:
        boolean (B, V).

    Example:
        >>> import keras, keras_transformer as kt
        >>> used = kt.decoding.used_ids(keras.ops.convert_to_tensor([[2, 0, -1]]), 4)
        >>> [bool(x) for x in used[0]]
        [True, False, True, False]
    """
    batch, length = ops.shape(history)[:2]
    # An extra column collects the ignored ids.
    columns = ops.where(history < 0, vocabulary_size, history)
    rows = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, length))
    places = ops.reshape(rows * (vocabulary_size + 1) + ops.cast(columns, "int32"), (-1, 1))
    # Not `ops.scatter`, which is a Python loop on torch.
    used = ops.zeros((batch * (vocabulary_size + 1),), dtype="int32")
    used = ops.scatter_update(used, places, ops.ones_like(places[:, 0]))
    return ops.reshape(used, (batch, vocabulary_size + 1))[:, :vocabulary_size] > 0
