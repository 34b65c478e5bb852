"""Turns what a user has (lists, padded arrays) into padded batches with few distinct shapes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# Widths are multiples of this: a prompt one token longer does not compile a new program.
_MULTIPLE = 16


class PaddedRows(NamedTuple):
    """Rows of ids: as lists, and as an array (B, P) padded on the right with its mask (B, P)."""

    rows: list[list[int]]
    ids: np.ndarray
    mask: np.ndarray


def round_up(length: int) -> int:
    """Rounds a length up to the next multiple of the step between compiled shapes."""
    return -(-length // _MULTIPLE) * _MULTIPLE


def pad_rows(
    name: str,
    token_ids: Any,
    vocabulary_size: int,
    padding_id: int | None = 0,
    max_length: int | None = None,
) -> PaddedRows:
    """Pads rows of token ids on the right, to a width that is rounded up.

    Args:
        name: the argument's name, for errors.
        token_ids: a list of lists of ids, or an int array (B, P) with `padding_id` on either side.
        vocabulary_size: ids must be below it.
        padding_id: the id of padding in an array; None if an array has none.
        max_length: the longest row that is allowed, and the largest width.

    Returns:
        `PaddedRows`.

    Raises:
        ValueError: no rows, an empty row, ids that are no integers or outside the vocabulary, a
            row that is too long; the row is named.
    """
    if hasattr(token_ids, "shape") and len(token_ids.shape) != 2:
        raise ValueError(
            f"`{name}` must be a batch of rows, (batch, length). "
            f"Received: shape={tuple(token_ids.shape)}."
        )
    rows = [_as_ids(name, index, row) for index, row in enumerate(token_ids)]
    if not rows:
        raise ValueError(f"`{name}` must hold at least one row. Received: an empty batch.")
    if hasattr(token_ids, "shape") and padding_id is not None:
        rows = [_strip(row, padding_id) for row in rows]
    for index, row in enumerate(rows):
        if not len(row):
            raise ValueError(f"`{name}` must not have empty rows. Received: row {index} is empty.")
        if row.min() < 0 or row.max() >= vocabulary_size:
            raise ValueError(
                f"`{name}` must hold ids in the range [0, {vocabulary_size}). "
                f"Received: row {index} has ids from {row.min()} to {row.max()}."
            )
    longest = max(len(row) for row in rows)
    if max_length is not None and longest > max_length:
        raise ValueError(
            f"The rows of `{name}` must not be longer than the model's positions. "
            f"Received: length={longest}, max_length={max_length}."
        )
    width = min(round_up(longest), max_length or round_up(longest))
    ids = np.zeros((len(rows), width), "int32")
    mask = np.zeros((len(rows), width), bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = True
    return PaddedRows([row.tolist() for row in rows], ids, mask)


def _as_ids(name, index, row):
    values = np.asarray(row)
    if values.ndim != 1 or (values.size and not np.issubdtype(values.dtype, np.integer)):
        raise ValueError(
            f"`{name}` must hold rows of integer ids. Received: row {index} is {row!r}."
        )
    return values.astype("int64")


def _strip(row, padding_id):
    real = np.flatnonzero(row != padding_id)
    return row[real[0] : real[-1] + 1] if real.size else row[:0]
