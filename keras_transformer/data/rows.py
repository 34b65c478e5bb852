"""Rows of token ids: validation, storage in one flat array, and padded batches."""

import itertools
import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


def check_ids(
    name: str, ids: np.ndarray, lengths: np.ndarray, size: int | None, padding_id: int = 0
) -> None:
    """Raises a ValueError if a flat array holds padding or an id outside [0, size)."""
    if ids.dtype.kind not in "iu":
        values = ids.tolist()
        place = next((place for place, value in enumerate(values) if not _fits(value)), 0)
        index = int(np.searchsorted(np.cumsum(lengths), place, side="right"))
        raise ValueError(
            f"`{name}` must contain integers. "
            f"Received: {values[place]!r} at index {index}, dtype={ids.dtype}."
        )
    upper = np.iinfo("int32").max if size is None else size - 1
    wrong = np.flatnonzero((ids < 0) | (ids > upper) | (ids == padding_id))
    if len(wrong):
        index = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
        raise ValueError(
            f"`{name}` must contain ids other than padding ({padding_id}), from 0 to {upper}. "
            f"Received: id {ids[wrong[0]]} at index {index}."
        )


def _fits(value: Any) -> bool:
    """Whether a value is a whole number, of any numeric type, and small enough for an id."""
    try:
        return value == int(value) and abs(value) <= np.iinfo("int64").max
    except (TypeError, ValueError, OverflowError):
        return False


def one_text(token_ids: Any, vocabulary_size: int | None) -> np.ndarray:
    """Checks the ids of one long text, at least two and no padding; returns them as int32."""
    ids = np.asarray(token_ids)
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(
            f"`token_ids` must be one sequence of at least two ids. Received: shape={ids.shape}."
        )
    check_ids("token_ids", ids, np.ones_like(ids, "int64"), vocabulary_size)
    return ids.astype("int32")


def flatten(
    name: str,
    rows: Sequence[Sequence[int]],
    vocabulary_size: int | None,
    padding_id: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Flattens rows of ids into one array, and returns the length of each row with it."""
    try:
        lengths = np.fromiter(map(len, rows), dtype="int64", count=len(rows))
    except TypeError as error:
        raise ValueError(
            f"`{name}` must be a list of lists of integers. Received: {reprlib.repr(rows)}."
        ) from error
    if len(rows) == 0 or not lengths.all():
        what = f"an empty row at index {int(lengths.argmin())}" if len(rows) else "no rows"
        raise ValueError(f"`{name}` must contain rows of at least one id. Received: {what}.")
    ids = np.array(list(itertools.chain.from_iterable(rows)))
    if ids.ndim != 1:
        raise ValueError(
            f"`{name}` must be a list of lists of integers. Received: {reprlib.repr(rows)}."
        )
    check_ids(name, ids, lengths, vocabulary_size, padding_id)
    return ids.astype("int32"), lengths


def surround(
    ids: np.ndarray, lengths: np.ndarray, before: Sequence[int], after: Sequence[int]
) -> np.ndarray:
    """Adds the same ids before and after every row of a flat array."""
    added = len(before) + len(after)
    starts = np.cumsum(lengths + added) - (lengths + added)
    result = np.empty(len(ids) + added * len(lengths), dtype="int32")
    shifts = np.repeat(np.arange(len(lengths)) * added + len(before), lengths)
    result[np.arange(len(ids)) + shifts] = ids
    for offset, token_id in enumerate(before):
        result[starts + offset] = token_id
    for offset, token_id in enumerate(after):
        result[starts + len(before) + lengths + offset] = token_id
    return result


def padded(
    flat: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    shape: tuple[int, int],
    padding_id: int = 0,
) -> np.ndarray:
    """Copies rows of a flat array into a padded int32 array of `shape`."""
    columns = np.arange(shape[1])
    real = columns < lengths[:, None]
    batch = np.full(shape, padding_id, dtype="int32")
    # Missing rows stay padding, so that an incomplete batch keeps its shape.
    batch[: len(starts)][real] = flat[(starts[:, None] + columns)[real]]
    return batch


def integer_rows(ids: Any) -> list[list[int]]:
    """Converts a 2-D array, a tensor or a list of lists to rows of Python integers."""
    if keras.ops.is_tensor(ids):
        ids = keras.ops.convert_to_numpy(ids)
    if isinstance(ids, np.ndarray):
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(
                "`ids` must be integers of shape (N, T). "
                f"Received: shape={ids.shape}, dtype={ids.dtype}."
            )
        return ids.tolist()
    rows = []
    for index, row in enumerate(ids):
        try:
            rows.append([operator.index(token_id) for token_id in row])
        except TypeError as error:
            raise ValueError(
                "`ids` must contain one sequence of integers per row. Received: "
                f"ids[{index}]={row!r}."
            ) from error
    return rows
