"""Turns what a user has (lists, padded arrays) into padded batches with few distinct shapes."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_transformer.decoding.protocol import DecodingModel

# Widths are multiples of this: a prompt one token longer does not compile a new program.
_MULTIPLE = 16


class PaddedRows(NamedTuple):
    """Rows of ids: as lists, and as an array (B, P) padded on the right with its mask (B, P).

    The mask is that of the model itself: a padding id inside a row takes a position and is hidden.
    """

    rows: list[list[int]]
    ids: np.ndarray
    mask: np.ndarray


class Inputs(NamedTuple):
    """What a decoding loop begins with.

    Attributes:
        tensors: `prompt_ids` and `prompt_mask` (B, P), for a translator also `source_ids` and
            `source_mask` (B, S). Masks are False at the padding on the right, and where the model
            itself hides a token.
        prefixes: for each row the ids that stand in front of what is generated: a language model's
            prompt; of a translation none but those that were forced.
        history: int (B, P), the prompts with their ends in one column, -1 in front of them.
        longest_source: the most tokens of a source, 0 for a language model.
    """

    tensors: dict[str, np.ndarray]
    prefixes: list[list[int]]
    history: np.ndarray
    longest_source: int


def prepare(
    parts: DecodingModel,
    prompt_ids: Any,
    max_new_tokens: int,
    start_id: int,
    prefix_ids: Any = None,
) -> Inputs:
    """Checks and pads the prompts of a language model, or the sources of a translator.

    Args:
        parts: the model's parts.
        prompt_ids: prompts or sources, as `pad_rows` takes them.
        max_new_tokens: how many tokens the positions must have room for after the prompt.
        start_id: the token that a translation starts from.
        prefix_ids: rows of ids that translations go on with, or one row for all of them.

    Returns:
        `Inputs`.

    Raises:
        ValueError: as `pad_rows`; also if the positions are too few.
    """
    if not parts.is_translator:
        if prefix_ids is not None:
            raise ValueError(
                "`prefix_ids` is for translators; a language model's prompt is its prefix. "
                f"Received: prefix_ids={prefix_ids!r}."
            )
        prompts = pad_rows(
            "prompt_ids", prompt_ids, parts.vocabulary_size, parts.padding_id, parts.max_length
        )
        prefixes, tensors, longest_source = prompts.rows, {}, 0
    else:
        (start_id,) = check_ids("start_id", [start_id], parts.vocabulary_size)
        embedding = parts.source_embedding
        source = pad_rows(
            "prompt_ids",
            prompt_ids,
            embedding.vocabulary_size,
            embedding.padding_id,
            parts.source_max_length,
        )
        prefixes = _prefixes(prefix_ids, len(source.rows))
        rows = [[start_id, *prefix] for prefix in prefixes]
        prompts = pad_rows(
            "prefix_ids", rows, parts.vocabulary_size, parts.padding_id, parts.max_length, False
        )
        if all(len(row) == 1 for row in rows):
            prompts = PaddedRows(rows, prompts.ids[:, :1], prompts.mask[:, :1])
        tensors = {"source_ids": source.ids, "source_mask": source.mask}
        longest_source = max(map(len, source.rows))
    if parts.start_is_padding:
        prompts.mask[:, 0] = True
    # The last new token is never fed back: it needs no position.
    longest = max(map(len, prompts.rows))
    if parts.max_length is not None and longest + max_new_tokens - 1 > parts.max_length:
        raise ValueError(
            "The prompt and `max_new_tokens` must fit the model's positions. Received: "
            f"prompt length={longest}, max_new_tokens={max_new_tokens}, "
            f"max_length={parts.max_length}."
        )
    history = np.full(prompts.ids.shape, -1, "int32")
    for row, ids in zip(history, prompts.rows, strict=True):
        row[len(row) - len(ids) :] = ids
    tensors |= {"prompt_ids": prompts.ids, "prompt_mask": prompts.mask}
    return Inputs(tensors, prefixes, history, longest_source)


def _prefixes(prefix_ids, num_rows):
    """The forced beginning of each translation."""
    if prefix_ids is None:
        return [[]] * num_rows
    is_one = isinstance(prefix_ids, (int, np.integer))
    rows: list[Any] = [prefix_ids] if is_one else list(prefix_ids)
    if all(isinstance(row, (int, np.integer)) for row in rows):
        rows = [rows] * num_rows
    if len(rows) != num_rows:
        raise ValueError(
            "`prefix_ids` must be one row of ids, or one for each source. "
            f"Received: {len(rows)} rows for {num_rows} sources."
        )
    return [[int(token_id) for token_id in row] for row in rows]


def check_count(name: str, value: Any, least: int) -> int:
    """Returns an integer of any kind as Python's; a ValueError unless it is at least `least`."""
    number = _as_integer(value)
    if number is None:
        raise ValueError(f"`{name}` must be an integer. Received: {name}={value!r}.")
    if number < least:
        raise ValueError(f"`{name}` must be at least {least}. Received: {name}={number}.")
    return number


def check_ids(name: str, ids: Any, vocabulary_size: int) -> tuple[int, ...]:
    """Returns ids as Python's integers; a ValueError unless all are in the vocabulary."""
    if _as_integer(ids) is not None:
        raise ValueError(f"`{name}` must be a sequence of ids. Received: {ids}.")
    numbers = []
    for token_id in ids:
        number = _as_integer(token_id)
        if number is None:
            raise ValueError(f"`{name}` must hold integer ids. Received: {token_id!r}.")
        if not 0 <= number < vocabulary_size:
            raise ValueError(
                f"`{name}` must be in the range [0, {vocabulary_size}). Received: {number}."
            )
        numbers.append(number)
    return tuple(numbers)


def _as_integer(value):
    """An integer, of NumPy's and tensors without axes too; None for anything else."""
    if isinstance(value, (bool, np.bool_)) or getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except (TypeError, RuntimeError):
        return None


def round_up(length: int) -> int:
    """Rounds a length up to the next multiple of the step between compiled shapes."""
    return -(-length // _MULTIPLE) * _MULTIPLE


def pad_rows(
    name: str,
    token_ids: Any,
    vocabulary_size: int,
    padding_id: int | None = 0,
    max_length: int | None = None,
    must_have_token: bool = True,
) -> PaddedRows:
    """Pads rows of token ids on the right, to a width that is rounded up.

    Args:
        name: the argument's name, for errors.
        token_ids: a list of lists of ids, or an int array (B, P) with `padding_id` on either side.
        vocabulary_size: ids must be below it.
        padding_id: the id that the model hides, and that pads an array; None if there is none.
        max_length: the longest row that is allowed, and the largest width.
        must_have_token: whether each row needs an id beside padding.

    Returns:
        `PaddedRows`.

    Raises:
        ValueError: no rows, an empty row or one of padding alone, ids that are no integers or
            outside the vocabulary, a row that is too long; the row is named.
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
        is_hidden = padding_id is not None and (row == padding_id).all()
        if not len(row) or (must_have_token and is_hidden):
            what = "holds nothing but padding" if len(row) else "is empty"
            raise ValueError(f"`{name}` must not have empty rows. Received: row {index} {what}.")
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
        mask[index, : len(row)] = True if padding_id is None else row != padding_id
    return PaddedRows([row.tolist() for row in rows], ids, mask)


def _as_ids(name, index, row):
    values = ops.convert_to_numpy(row) if ops.is_tensor(row) else np.asarray(row)
    if values.ndim != 1 or (values.size and not np.issubdtype(values.dtype, np.integer)):
        raise ValueError(
            f"`{name}` must hold rows of integer ids. Received: row {index} is {row!r}."
        )
    return values.astype("int64")


def _strip(row, padding_id):
    real = np.flatnonzero(row != padding_id)
    return row[real[0] : real[-1] + 1] if real.size else row[:0]
