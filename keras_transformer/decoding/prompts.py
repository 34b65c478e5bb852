"""Validation of token ids, and their padding into batches with few distinct shapes."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_transformer.decoding.decoding_model import DecodingModel

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


class Inputs(NamedTuple):
    """The inputs of a decoding loop.

    Attributes:
        tensors: `prompt_ids` and `prompt_mask` (B, P); for a translator also `source_ids` and
            `source_mask` (B, S). Masks are False for right padding and for tokens that the model
            itself masks.
        prefixes: For each row, the ids that precede the generated ones: the prompt for a language
            model, the forced prefix for a translator.
        history: int (B, P), the prompts, padded on the left with -1.
        longest_source: The number of tokens in the longest source; 0 for a language model.
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
    names: tuple[str, str] = ("prompt_ids", "max_new_tokens"),
) -> Inputs:
    """Checks and pads the prompts of a language model or the sources of a translator.

    Args:
        parts: The model's parts.
        prompt_ids: Prompts or sources, in any form that `pad_rows` accepts.
        max_new_tokens: The number of new tokens that must fit the model's positions.
        start_id: The first decoder token of a translation.
        prefix_ids: The ids that each translation must start with, as one row for all or one row
            per source.
        names: The public function's names for `prompt_ids` and `max_new_tokens`, for errors.

    Returns:
        `Inputs`.

    Raises:
        ValueError: As in `pad_rows`, or if the model has too few positions.
    """
    ids_name, count_name = names
    tensors, longest_source = {}, 0
    if parts.is_translator:
        embedding = parts.source_embedding
        source = pad_rows(
            ids_name,
            prompt_ids,
            embedding.vocabulary_size,
            embedding.padding_id,
            parts.source_max_length,
        )
        tensors = {"source_ids": source.ids, "source_mask": source.mask}
        longest_source = max(map(len, source.rows))
        ids_name = "start_id" if prefix_ids is None else "prefix_ids"
        prompts, prefixes = _target_prompts(parts, start_id, prefix_ids, len(source.rows))
    else:
        if prefix_ids is not None:
            raise ValueError(
                "`prefix_ids` requires a translator; the prefix of a language model is its prompt. "
                f"Received: prefix_ids={prefix_ids!r}."
            )
        prompts = pad_rows(
            ids_name, prompt_ids, parts.vocabulary_size, parts.padding_id, parts.max_length
        )
        prefixes = prompts.rows
    if parts.start_is_padding:
        prompts.mask[:, 0] = True
    # The last new token is never fed back, so it needs no position.
    longest = max(map(len, prompts.rows))
    if parts.max_length is not None and longest + max_new_tokens - 1 > parts.max_length:
        raise ValueError(
            f"`{ids_name}` and `{count_name}` must fit the model's positions. Received: a prompt "
            f"of length {longest} and {count_name}={max_new_tokens}, "
            f"for {parts.max_length} positions."
        )
    history = np.full(prompts.ids.shape, -1, "int32")
    for row, ids in zip(history, prompts.rows, strict=True):
        row[len(row) - len(ids) :] = ids
    tensors |= {"prompt_ids": prompts.ids, "prompt_mask": prompts.mask}
    return Inputs(tensors, prefixes, history, longest_source)


def _target_prompts(parts, start_id, prefix_ids, num_rows):
    """Returns the first decoder tokens of each translation, padded, and its forced prefix."""
    start_id = check_id("start_id", start_id, parts.vocabulary_size)
    prefixes = _prefixes(prefix_ids, num_rows, parts.vocabulary_size)
    rows = [[start_id, *prefix] for prefix in prefixes]
    prompts = pad_rows(
        "prefix_ids", rows, parts.vocabulary_size, parts.padding_id, parts.max_length, False
    )
    if all(len(row) == 1 for row in rows):
        prompts = PaddedRows(rows, prompts.ids[:, :1], prompts.mask[:, :1])
    return prompts, prefixes


def _prefixes(prefix_ids, num_rows, vocabulary_size):
    """Returns the forced prefix of each translation."""
    if prefix_ids is None:
        return [[]] * num_rows
    is_one = _as_integer(prefix_ids) is not None
    rows = [prefix_ids] if is_one else as_list("prefix_ids", prefix_ids, "rows of ids")
    if all(_as_integer(row) is not None for row in rows):
        rows = [rows] * num_rows
    if len(rows) != num_rows:
        raise ValueError(
            "`prefix_ids` must be one row of ids, or one row per source. "
            f"Received: {len(rows)} rows for {num_rows} sources."
        )
    return [list(check_ids("prefix_ids", row, vocabulary_size)) for row in rows]


def check_count(name: str, value: Any, least: int) -> int:
    """Returns an integer of any type as an `int`; raises unless it is at least `least`."""
    number = _as_integer(value)
    if number is None:
        raise ValueError(f"`{name}` must be an integer. Received: {name}={value!r}.")
    if number < least:
        raise ValueError(f"`{name}` must be at least {least}. Received: {name}={number}.")
    return number


def check_id(name: str, token_id: Any, vocabulary_size: int) -> int:
    """Returns an id of any integer type as an `int`; raises unless it is in the vocabulary."""
    number = _as_integer(token_id)
    if number is None:
        raise ValueError(f"`{name}` must be an integer. Received: {name}={token_id!r}.")
    if not 0 <= number < vocabulary_size:
        raise ValueError(
            f"`{name}` must be in the range [0, {vocabulary_size}). Received: {name}={number}."
        )
    return number


def check_ids(name: str, ids: Any, vocabulary_size: int) -> tuple[int, ...]:
    """Returns ids of any integer type as `int`s; raises unless all are in the vocabulary."""
    numbers = []
    for token_id in as_list(name, ids, "a sequence of ids"):
        number = _as_integer(token_id)
        if number is None:
            raise ValueError(f"`{name}` must contain integers. Received: {token_id!r}.")
        if not 0 <= number < vocabulary_size:
            raise ValueError(
                f"`{name}` must contain ids in the range [0, {vocabulary_size}). Received: "
                f"{number}."
            )
        numbers.append(number)
    return tuple(numbers)


def as_list(name: str, value: Any, expected: str) -> list:
    """Returns an iterable as a list; raises a ValueError for anything else."""
    try:
        return list(value)
    except TypeError:
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value!r}.") from None


def _as_integer(value):
    """Returns an integer, NumPy integer or scalar tensor as an `int`, anything else as None."""
    if isinstance(value, (bool, np.bool_)) or getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except (TypeError, RuntimeError):
        return None


def round_up(length: int) -> int:
    """Rounds a length up to a multiple of 16, so that few distinct shapes are compiled."""
    return -(-length // _MULTIPLE) * _MULTIPLE


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
        ValueError: If there are no rows, or a row is empty, contains only padding, is too long, or
            contains anything but ids of the vocabulary. The message names the row.
    """
    if hasattr(token_ids, "shape") and len(token_ids.shape) != 2:
        raise ValueError(
            f"`{name}` must have the shape (batch, length). "
            f"Received: shape={tuple(token_ids.shape)}."
        )
    items = as_list(name, token_ids, "a list of rows of ids or an array")
    rows = [_as_ids(name, index, row) for index, row in enumerate(items)]
    if not rows:
        raise ValueError(f"`{name}` must contain at least one row. Received: an empty batch.")
    if hasattr(token_ids, "shape") and padding_id is not None:
        rows = [_strip(row, padding_id) for row in rows]
    for index, row in enumerate(rows):
        is_hidden = padding_id is not None and (row == padding_id).all()
        if not len(row) or (must_have_token and is_hidden):
            what = "contains only padding" if len(row) else "is empty"
            raise ValueError(f"`{name}` must not have empty rows. Received: row {index} {what}.")
        if row.min() < 0 or row.max() >= vocabulary_size:
            raise ValueError(
                f"`{name}` must contain ids in the range [0, {vocabulary_size}). "
                f"Received: row {index} has ids from {row.min()} to {row.max()}."
            )
    longest = max(len(row) for row in rows)
    if max_length is not None and longest > max_length:
        raise ValueError(
            f"`{name}` must fit the model's positions. "
            f"Received: a row of length {longest} for {max_length} positions."
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
            f"`{name}` must contain rows of integers. Received: row {index} is {row!r}."
        )
    return values.astype("int64")


def _strip(row, padding_id):
    real = np.flatnonzero(row != padding_id)
    return row[real[0] : real[-1] + 1] if real.size else row[:0]
