"""Candidates: decoding over a part of the vocabulary, with logits only for its ids.

Shape letters: B batch, R rows (B times hypotheses per row), C candidates, V vocabulary, L length of
a history, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.logit_filters import (
    ban_ids,
    ban_repeated_ngrams,
    least_logit,
    lowest,
)
from keras_transformer.decoding.padded_rows import as_list
from keras_transformer.decoding.prompts import check_ids

Tensor = Any

_FEWEST = 128


class Candidates(NamedTuple):
    """The ids that the rows of a batch may generate.

    Attributes:
        ids: int (C,), the union over all rows in increasing order, padded with 0.
        allowed: boolean (B, C), the candidates of each row.
    """

    ids: Tensor
    allowed: Tensor


def make_candidates(
    candidate_ids: Any,
    num_rows: int,
    vocabulary_size: int,
    end_id: int | None = None,
    least: int = 2,
    more_ids: Sequence[Sequence[int]] | None = None,
) -> Candidates | None:
    """Checks the candidates of a batch and merges them into one set of columns.

    Args:
        candidate_ids: Ids for the whole batch, a list of ids per row, or None.
        num_rows: B.
        vocabulary_size: V.
        end_id: An id that each row must contain; None for none.
        least: The minimum number of columns.
        more_ids: Further candidates of each row; None for none.

    Returns:
        `Candidates` of arrays, with C rounded up; None if `candidate_ids` is None.

    Raises:
        ValueError: If the number of rows differs from `num_rows`, an id is not in the vocabulary,
            or a row has fewer than two ids or lacks `end_id`.
    """
    if candidate_ids is None:
        return None
    rows = _rows(candidate_ids, num_rows)
    if more_ids is not None:
        rows = rows * num_rows if len(rows) == 1 else rows
        rows = [
            np.union1d(row, np.array(more, "int64"))
            for row, more in zip(rows, more_ids, strict=True)
        ]
    for index, row in enumerate(rows):
        check_ids("candidate_ids", [row.min(), row.max()] if len(row) else (), vocabulary_size)
        if len(row) < 2 or (end_id is not None and end_id not in row):
            needed, end = "two ids", ""
            if end_id is not None:
                needed, end = "`end_id` and one other id", f", end_id={end_id}"
            raise ValueError(
                f"`candidate_ids` must contain at least {needed} for each row. "
                f"Received: {len(row)} candidates in row {index}{end}."
            )
    union = np.unique(np.concatenate(rows))
    size = _round_up(max(len(union), least))
    allowed = np.zeros((len(rows), size), bool)
    for index, row in enumerate(rows):
        allowed[index, np.searchsorted(union, row)] = True
    ids = np.pad(union, (0, size - len(union))).astype("int32")
    return Candidates(ids, np.broadcast_to(allowed, (num_rows, size)))


def _round_up(count):
    """Rounds up to a power of two or 1.5 times one, so that few distinct sizes are compiled."""
    size = _FEWEST
    while size < count:
        size *= 2
    half = size // 4 * 3
    return half if half >= max(count, _FEWEST) else size


def _rows(candidate_ids, num_rows) -> list[np.ndarray]:
    """Returns one array of distinct ids per row, or a single one for all rows."""
    items = as_list("candidate_ids", candidate_ids, "a list of ids")
    if all(np.ndim(item) == 0 for item in items):
        items = [items]
    elif len(items) != num_rows:
        raise ValueError(
            "`candidate_ids` must be a list of ids for the whole batch, or one per row. "
            f"Received: {len(items)} rows for a batch of {num_rows}."
        )
    return [_as_ids(item) for item in items]


def _as_ids(item):
    ids = ops.convert_to_numpy(item) if ops.is_tensor(item) else np.asarray(item)
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
        raise ValueError(f"`candidate_ids` must contain integers. Received: {item!r}.")
    return np.unique(ids.astype("int64"))


def next_logits(parts: DecodingModel, hidden: Tensor, candidates: Candidates | None) -> Tensor:
    """Projects hidden states (R, 1, D) to logits (R, V), or (R, C) of the candidates."""
    if candidates is None:
        return _finite(parts.logits(hidden)[:, 0])
    logits = _finite(parts.logits(hidden, candidates.ids)[:, 0])
    batch, columns = ops.shape(candidates.allowed)
    # The hypotheses of an item are adjacent rows.
    logits = ops.reshape(logits, (batch, -1, columns))
    logits = ops.where(candidates.allowed[:, None], logits, lowest("float32"))
    return ops.reshape(logits, (-1, columns))


def _finite(logits):
    """Clips infinite logits, which a model may give to ids that it excludes itself.

    They stay above the logits of banned ids, and sums with them are finite.
    """
    return ops.clip(logits, least_logit(), -least_logit())


def to_ids(columns: Tensor, candidates: Candidates | None) -> Tensor:
    """Maps columns of the logits to ids."""
    return columns if candidates is None else ops.take(candidates.ids, columns)


def of_candidates(table: Tensor, candidates: Candidates | None) -> Tensor:
    """Selects the candidates' columns (R, C) of a table (R, V)."""
    return table if candidates is None else ops.take(table, candidates.ids, axis=1)


def ban(logits: Tensor, banned_ids: Sequence[int], candidates: Candidates | None) -> Tensor:
    """Like `ban_ids`, for logits (R, V), or (R, C) of the candidates."""
    if candidates is None:
        return ban_ids(logits, banned_ids)
    for banned in banned_ids:
        logits = ops.where(ops.equal(candidates.ids, banned), lowest("float32"), logits)
    return logits


def ban_ngrams(
    logits: Tensor,
    history: Tensor,
    length: Any,
    size: int,
    vocabulary_size: int,
    candidates: Candidates | None,
) -> Tensor:
    """Like `ban_repeated_ngrams`, for logits (R, V), or (R, C) of the candidates.

    Ids that would repeat an n-gram stay above banned ids, so that they remain a last resort.
    """
    if not size:
        return logits
    if candidates is None:
        banned = ban_repeated_ngrams(logits, history, length, size)
        return ops.maximum(banned, lowest("float32") / 2)
    nothing = ops.zeros((ops.shape(logits)[0], vocabulary_size), "float32")
    bans = ban_repeated_ngrams(nothing, history, length, size)
    return logits + of_candidates(bans, candidates) / 2
