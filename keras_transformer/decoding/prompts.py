"""Validation of the token ids that decoding starts from."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.padded_rows import PaddedRows, as_list, pad_rows


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
    is_one = as_integer(prefix_ids) is not None
    rows = [prefix_ids] if is_one else as_list("prefix_ids", prefix_ids, "rows of ids")
    if all(as_integer(row) is not None for row in rows):
        rows = [rows] * num_rows
    if len(rows) != num_rows:
        raise ValueError(
            "`prefix_ids` must be one row of ids, or one row per source. "
            f"Received: {len(rows)} rows for {num_rows} sources."
        )
    return [list(check_ids("prefix_ids", row, vocabulary_size)) for row in rows]


def check_count(name: str, value: Any, least: int) -> int:
    """Returns an integer of any type as an `int`; raises unless it is at least `least`."""
    number = as_integer(value)
    if number is None:
        raise ValueError(f"`{name}` must be an integer. Received: {name}={value!r}.")
    if number < least:
        raise ValueError(f"`{name}` must be at least {least}. Received: {name}={number}.")
    return number


def check_id(name: str, token_id: Any, vocabulary_size: int) -> int:
    """Returns an id of any integer type as an `int`; raises unless it is in the vocabulary."""
    number = as_integer(token_id)
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
        number = as_integer(token_id)
        if number is None:
            raise ValueError(f"`{name}` must contain integers. Received: {token_id!r}.")
        if not 0 <= number < vocabulary_size:
            raise ValueError(
                f"`{name}` must contain ids in the range [0, {vocabulary_size}). Received: "
                f"{number}."
            )
        numbers.append(number)
    return tuple(numbers)


def as_integer(value):
    """Returns an integer, NumPy integer or scalar tensor as an `int`, anything else as None."""
    if isinstance(value, (bool, np.bool_)) or getattr(value, "shape", ()) != ():
        return None
    try:
        return operator.index(value)
    except (TypeError, RuntimeError):
        return None
