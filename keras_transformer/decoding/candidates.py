"""A part of the vocabulary in place of all of it: logits for the candidates of a batch alone.

Shape letters: B batch, R rows (B times the hypotheses of each), C candidates, V vocabulary, L
length of a history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_transformer.decoding.logits import (
    ban_ids,
    ban_repeated_ngrams,
    least_logit,
    lowest,
)
from keras_transformer.decoding.prompts import check_ids
from keras_transformer.decoding.protocol import DecodingModel

Tensor = Any

_FEWEST = 128


class Candidates(NamedTuple):
    """The ids that the rows of a batch may generate.

    Attributes:
        ids: int (C,), those of all rows together, in order; filled up with zeros.
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
) -> Candidates | None:
    """Joins the candidates of a batch.

    Args:
        candidate_ids: ids for the whole batch, a list of ids for each row, or None.
        num_rows: B.
        vocabulary_size: V.
        end_id: an id that must be among those of each row.
        least: the fewest columns.

    Returns:
        `Candidates` of arrays, their number rounded up; None for None.

    Raises:
        ValueError: another number of rows, ids outside the vocabulary, fewer than two ids or no
            end in a row.
    """
    if candidate_ids is None:
        return None
    rows = _rows(candidate_ids, num_rows)
    for index, row in enumerate(rows):
        check_ids("candidate_ids", [row.min(), row.max()] if len(row) else (), vocabulary_size)
        if len(row) < 2 or (end_id is not None and end_id not in row):
            needed = "two ids" if end_id is None else "`end_id` and one other id"
            raise ValueError(
                f"`candidate_ids` must contain at least {needed} for each row. "
                f"Received: {len(row)} candidates in row {index}, end_id={end_id}."
            )
    union = np.unique(np.concatenate(rows))
    size = _round_up(max(len(union), least))
    allowed = np.zeros((len(rows), size), bool)
    for index, row in enumerate(rows):
        allowed[index, np.searchsorted(union, row)] = True
    ids = np.pad(union, (0, size - len(union)))
    return Candidates(ids, np.broadcast_to(allowed, (num_rows, size)))


def _round_up(count):
    """The next power of two, or one and a half of the one before: few sizes to compile."""
    size = _FEWEST
    while size < count:
        size *= 2
    half = size // 4 * 3
    return half if half >= max(count, _FEWEST) else size


def _rows(candidate_ids, num_rows) -> list[np.ndarray]:
    """One array of distinct ids for each row, or one for all of them."""
    items: Sequence[Any] = list(candidate_ids)
    if all(np.ndim(item) == 0 for item in items):
        items = [items]
    elif len(items) != num_rows:
        raise ValueError(
            "`candidate_ids` must be ids for the whole batch, or a list of ids for each row. "
            f"Received: {len(items)} rows for a batch of {num_rows}."
        )
    return [_as_ids(item) for item in items]


def _as_ids(item):
    ids = ops.convert_to_numpy(item) if ops.is_tensor(item) else np.asarray(item)
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
        raise ValueError(f"`candidate_ids` must hold integer ids. Received: {item!r}.")
    return np.unique(ids.astype("int64")).astype("int32")


def next_logits(parts: DecodingModel, hidden: Tensor, candidates: Candidates | None) -> Tensor:
    """The logits (R, V), or (R, C) of the candidates, that follow from hidden states (R, 1, D)."""
    if candidates is None:
        return _finite(parts.logits(hidden)[:, 0])
    logits = _finite(parts.logits(hidden, candidates.ids)[:, 0])
    batch, columns = ops.shape(candidates.allowed)
    # The rows of a batch's item are neighbours.
    logits = ops.reshape(logits, (batch, -1, columns))
    logits = ops.where(candidates.allowed[:, None], logits, lowest("float32"))
    return ops.reshape(logits, (-1, columns))


def _finite(logits):
    """An infinite logit, of an id that the model rules out itself, counts as what it is meant for.

    It stays above what is banned, and sums with it are numbers.
    """
    return ops.clip(logits, least_logit(), -least_logit())


def to_ids(columns: Tensor, candidates: Candidates | None) -> Tensor:
    """The ids that columns of logits stand for."""
    return columns if candidates is None else ops.take(candidates.ids, columns)


def of_candidates(table: Tensor, candidates: Candidates | None) -> Tensor:
    """Of a table (R, V) the columns of the candidates, (R, C)."""
    return table if candidates is None else ops.take(table, candidates.ids, axis=1)


def ban(logits: Tensor, banned_ids: Sequence[int], candidates: Candidates | None) -> Tensor:
    """As `ban_ids`, for logits (R, V), or (R, C) of the candidates."""
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
    """As `ban_repeated_ngrams`, for logits (R, V), or (R, C) of the candidates.

    What would repeat stays above what may never come, for where nothing else is left.
    """
    if not size:
        return logits
    if candidates is None:
        banned = ban_repeated_ngrams(logits, history, length, size)
        return ops.maximum(banned, lowest("float32") / 2)
    nothing = ops.zeros((ops.shape(logits)[0], vocabulary_size), "float32")
    bans = ban_repeated_ngrams(nothing, history, length, size)
    return logits + of_candidates(bans, candidates) / 2
