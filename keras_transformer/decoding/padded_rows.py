"""Rows of token ids: validation, and padding into batches with few distinct shapes."""

from __future__ import annotations

import reprlib
from typing import Any, NamedTuple

import numpy as np
from keras import ops

# Widths are multiples of this, so that a slightly longer prompt does not trigger a compilation.
_MULTIPLE = 16


class PaddedRows(NamedTuple):
    """Rows of token ids, as lists and as a right-padded array.

    Attributes:
        rows: The ids of each row, as lists.
        ids: int32 (B, P), the rows padded on the right.
        mask: boolean (B, P), the model's own padding mask: a padding id inside a row occupies a
            position but is masked.
    """

    rows: list[list[int]]
    ids: np.ndarray
    mask: np.ndarray


def round_up(length: int) -> int:
    """Rounds a length up, so that few distinct shapes are compiled.

    Args:
        length: The length.

    Returns:
        A multiple of 16 up to 128; above, of an eighth of the next power of two, which gives four
        distinct lengths per doubling.
    """
    multiple = max(_MULTIPLE, (1 << (length - 1).bit_length()) // 8)
    return -(-length // multiple) * multiple


def pad_rows(
    name: str,
    token_ids: Any,
    vocabulary_size: int,
    padding_id: int | None = 0,
    max_length: int | None = None,
    must_have_token: bool = True,
) -> PaddedRows:
    """Pads rows of token ids on the right to a rounded-up width.

    Args:
        name: The name of the argument, for errors.
        token_ids: A list of lists of ids, or an int array (B, P) padded with `padding_id` on either
            side.
        vocabulary_size: The upper bound of the ids, exclusive.
        padding_id: The id that the model masks and that pads arrays; None if there is none.
        max_length: The maximum length of a row, and the maximum width; None for no limit.
        must_have_token: Whether each row must contain an id other than `padding_id`.

    Returns:
        `PaddedRows`.

    Raises:
        ValueError: As in `check_rows`.
    """
    rows = check_rows(name, token_ids, vocabulary_size, padding_id, max_length, must_have_token)
    longest = max(len(row) for row in rows)
    width = min(round_up(longest), max_length or round_up(longest))
    ids = np.zeros((len(rows), width), "int32")
    mask = np.zeros((len(rows), width), bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = True if padding_id is None else row != padding_id
    return PaddedRows([row.tolist() for row in rows], ids, mask)


def check_rows(
    name: str,
    token_ids: Any,
    vocabulary_size: int,
    padding_id: int | None = 0,
    max_length: int | None = None,
    must_have_token: bool = True,
    row_name: str = "row {}",
) -> list[np.ndarray]:
    """Checks rows of token ids, without padding them.

    Args:
        name: As in `pad_rows`.
        token_ids: As in `pad_rows`.
        vocabulary_size: As in `pad_rows`.
        padding_id: As in `pad_rows`.
        max_length: As in `pad_rows`.
        must_have_token: As in `pad_rows`.
        row_name: What errors call a row, with {} for its index.

    Returns:
        The rows as int64 arrays, without the padding of an array.

    Raises:
        ValueError: If there are no rows, or a row is empty, contains only padding, is too long, or
            contains anything but ids of the vocabulary. The message names the row.
    """
    if hasattr(token_ids, "shape") and len(token_ids.shape) != 2:
        raise ValueError(
            f"`{name}` must have the shape (batch, length). "
            f"Received: shape={tuple(token_ids.shape)}."
        )
    items = as_list(name, token_ids, "a list of rows of ids or an array")
    rows = [as_ids(name, row_name.format(index), row) for index, row in enumerate(items)]
    if not rows:
        raise ValueError(f"`{name}` must contain at least one row. Received: an empty batch.")
    if hasattr(token_ids, "shape") and padding_id is not None:
        rows = [_strip(row, padding_id) for row in rows]
    for index, row in enumerate(rows):
        which = row_name.format(index)
        is_hidden = padding_id is not None and (row == padding_id).all()
        if not len(row) or (must_have_token and is_hidden):
            what = "contains only padding" if len(row) else "is empty"
            raise ValueError(f"`{name}` must not have empty rows. Received: {which} {what}.")
        if row.min() < 0 or row.max() >= vocabulary_size:
            raise ValueError(
                f"`{name}` must contain ids in the range [0, {vocabulary_size}). "
                f"Received: {which} has ids from {row.min()} to {row.max()}."
            )
        if max_length is not None and len(row) > max_length:
            raise ValueError(
                f"`{name}` must fit the model's positions. "
                f"Received: {which} of length {len(row)} for {max_length} positions."
            )
    return rows


def as_list(name: str, value: Any, expected: str) -> list:
    """Returns an iterable as a list; raises a ValueError for anything else."""
    try:
        return list(value)
    except TypeError:
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}.") from None


def as_ids(name: str, which: str, row: Any, expected: str = "rows of integers") -> np.ndarray:
    """Returns a row of ids as an int64 array; raises a ValueError unless all are integers."""
    values = ops.convert_to_numpy(row) if ops.is_tensor(row) else np.asarray(row)
    is_integer = not values.size or np.issubdtype(values.dtype, np.integer)
    # Beyond int64, values of uint64 would turn negative.
    if values.ndim != 1 or not is_integer or (values.size and values.max() > 2**63 - 1):
        raise ValueError(
            f"`{name}` must contain {expected}. Received: {which} is {reprlib.repr(row)}."
        )
    return values.astype("int64")


def _strip(row, padding_id):
    real = np.flatnonzero(row != padding_id)
    return row[real[0] : real[-1] + 1] if real.size else row[:0]
