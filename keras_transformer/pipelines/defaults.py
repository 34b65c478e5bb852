"""How a pipeline decodes unless told otherwise, kept with it on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.data.special_ids import special_ids
from keras_transformer.decoding.beam_search import NORMALIZATIONS


class DecodingDefaults(NamedTuple):
    """What a translator does where `translate` is not told otherwise.

    Attributes:
        banned_ids: ids that are never generated; None for the padding, unknown and start ids.
        max_new_tokens: the most tokens; None for 50 more than the longest source has.
        length_penalty: alpha of the beam search.
        length_normalization: "gnmt" or "length", the form of its length penalty.
        early_stopping: whether the search stops at the first `num_beams` finished hypotheses.

    Example:
        >>> import keras_transformer as kt
        >>> kt.DecodingDefaults(length_penalty=1.0, length_normalization="length").length_penalty
        1.0
    """

    banned_ids: tuple[int, ...] | None = None
    max_new_tokens: int | None = None
    length_penalty: float = 0.6
    length_normalization: str = "gnmt"
    early_stopping: bool = False


def check_defaults(defaults: DecodingDefaults, vocabulary_size: int) -> DecodingDefaults:
    """Returns the defaults with a tuple of ids, or raises a ValueError for one that cannot be."""
    limit, penalty = defaults.max_new_tokens, defaults.length_penalty
    if limit is not None and not (_is_integer(limit) and limit > 0):
        raise ValueError(
            f"`max_new_tokens` must be a positive integer or None. Received: {limit!r}."
        )
    if isinstance(penalty, bool) or not isinstance(penalty, int | float):
        raise ValueError(f"`length_penalty` must be a number. Received: {penalty!r}.")
    if defaults.length_normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`length_normalization` must be one of {NORMALIZATIONS}. "
            f"Received: {defaults.length_normalization!r}."
        )
    if not isinstance(defaults.early_stopping, bool):
        raise ValueError(
            f"`early_stopping` must be True or False. Received: {defaults.early_stopping!r}."
        )
    if defaults.banned_ids is None:
        return defaults
    return defaults._replace(banned_ids=check_banned_ids(defaults.banned_ids, vocabulary_size))


def check_banned_ids(banned_ids: Any, vocabulary_size: int) -> tuple[int, ...]:
    """Returns the ids as a tuple, or raises a ValueError where one is none of the vocabulary."""
    listed = isinstance(banned_ids, Sequence) and not isinstance(banned_ids, str)
    if not listed or not all(_is_integer(i) and 0 <= i < vocabulary_size for i in banned_ids):
        raise ValueError(
            f"`banned_ids` must be integers from 0 to {vocabulary_size - 1}. "
            f"Received: banned_ids={banned_ids!r}."
        )
    return tuple(map(int, banned_ids))


def usual_bans(tokenizer: Any) -> tuple[int, ...]:
    """The special ids of a tokenizer but for its end."""
    padding, unknown, start, end = special_ids(tokenizer)
    bans = dict.fromkeys((padding, unknown, start))
    return tuple(token_id for token_id in bans if token_id is not None and token_id != end)


def read_defaults(path: Path, values: Any) -> DecodingDefaults:
    """Returns what a saved folder says, or raises a ValueError that names the file."""
    if not isinstance(values, dict) or set(values) - set(DecodingDefaults._fields):
        raise ValueError(
            f"`defaults` in {path} must be some of {DecodingDefaults._fields}. "
            f"Received: {values!r}."
        )
    return DecodingDefaults(**values)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
