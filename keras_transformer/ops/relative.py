"""Relative positions: from values per distance to values per query and key.

Shape letters: T query length, S key length.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def distances(query_positions: Tensor, key_positions: Tensor) -> Tensor:
    """Returns how far each key is ahead of each query; negative if it is behind.

    Args:
        query_positions: Int (T,) or (B, T).
        key_positions: Int (S,) or (B, S).

    Returns:
        int (T, S) or (B, T, S).
    """
    return ops.expand_dims(key_positions, -2) - ops.expand_dims(query_positions, -1)


def all_distances(query_length: Any, key_length: Any) -> Tensor:
    """Returns all distances between queries and keys at `0, 1, ...`, plus one for padding.

    Args:
        query_length: T.
        key_length: S.

    Returns:
        int (T + S,), `-(T - 1) .. S`.
    """
    return ops.arange(query_length + key_length, dtype="int32") - (query_length - 1)


def shift_rows(by_distance: Tensor, key_length: Any) -> Tensor:
    """Converts values per distance to values per key: shifts row `i` by `i` places to the left.

    Reading the flat buffer in rows that are one entry shorter aligns the values without a gather,
    whose gradient would be summed one entry at a time.

    Args:
        by_distance: (..., T, T + S), for each query, in the order of `all_distances`.
        key_length: S.

    Returns:
        (..., T, S).

    Reference:
        Huang et al. 2018, "Music Transformer", section 3.4.1, which introduced the trick.
    """
    *leading, length, width = ops.shape(by_distance)
    flat = ops.reshape(by_distance, (*leading, length * width))
    # Entry `i * width + j - i + T - 1`, for query `i` and key `j`, is `i * (width - 1) + j` here.
    flat = flat[..., length - 1 : length - 1 + length * (width - 1)]
    return ops.reshape(flat, (*leading, length, width - 1))[..., :key_length]
