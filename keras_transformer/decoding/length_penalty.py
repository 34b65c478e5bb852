"""The length penalty of beam search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from keras_transformer.decoding.prompts import check_count

Tensor = Any

NORMALIZATIONS = ("gnmt", "length")


def length_penalty(settings: Any, length: Tensor) -> Tensor:
    r"""Returns lp(n), by which the sum of a hypothesis's log-probabilities is divided.

    $((5 + n) / 6)^\alpha$ ("gnmt") or $n^\alpha$ ("length").

    Args:
        settings: `SearchSettings`, with alpha, the form and the number of prefix ids that count.
        length: The number of tokens without the prefix, an int scalar.

    Returns:
        A float32 scalar.

    Reference:
        Wu et al. 2016, "Google's Neural Machine Translation System", section 7, equation 14.
    """
    length = ops.cast(length + settings.prefix_length, "float32")
    base = length if settings.length_normalization == "length" else (5.0 + length) / 6.0
    return ops.power(base, settings.length_penalty)


def check_length_penalty(length_penalty: Any, max_length: int) -> float:
    """Returns alpha as a float; raises a ValueError if scores would exceed float32's precision."""
    try:
        penalty = float(length_penalty)
    except (TypeError, ValueError):
        penalty = math.nan
    limit = 40 / math.log(max_length + 1)
    if not abs(penalty) <= limit:
        raise ValueError(
            f"`length_penalty` must be a number from {-limit:.3g} to {limit:.3g}. "
            f"Received: length_penalty={length_penalty}, max_length={max_length}."
        )
    return penalty


def counted_ids(count_prefix: bool | int, prefixes: Sequence[Sequence[int]]) -> int:
    """Returns how many ids of each prefix count in the length of a hypothesis.

    Args:
        count_prefix: True for all of them, or their number.
        prefixes: The prefix of each row.

    Raises:
        ValueError: If all ids count but prefixes have different lengths, or a prefix is too short.
    """
    lengths = {len(prefix) for prefix in prefixes}
    if count_prefix is True:
        if len(lengths) > 1:
            raise ValueError(
                "`count_prefix` must be False or a number for prefixes of different lengths. "
                f"Received: count_prefix=True, lengths {sorted(lengths)}."
            )
        return lengths.pop()
    count = check_count("count_prefix", count_prefix, 0)
    if count > min(lengths):
        raise ValueError(
            "`count_prefix` must be at most the length of each prefix. "
            f"Received: count_prefix={count}, lengths {sorted(lengths)}."
        )
    return count
