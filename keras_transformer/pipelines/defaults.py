"""Default decoding options of a pipeline, saved with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_transformer.checks import (
    check,
    check_above,
    check_choice,
    check_flag,
    check_integer,
    check_positive,
    given,
    is_integer,
    is_number,
    shortened,
)
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.decoding.length_penalty import NORMALIZATIONS
from keras_transformer.decoding.samplers import RandomSampler


class DecodingDefaults(NamedTuple):
    """Default decoding options of a translator, used unless overridden in `translate`.

    Attributes:
        banned_ids: Ids that are never generated; None for the padding, unknown and start ids.
        max_new_tokens: Maximum number of tokens to generate; None to use `max_length_factor`.
        max_length_factor: Maximum number of tokens as a multiple of the source length; None for 50
            more tokens than the longest source of the batch.
        length_penalty: The alpha of the beam search.
        length_normalization: "gnmt" or "length", the form of the length penalty.
        early_stopping: Whether beam search stops once `num_beams` hypotheses are finished.
        min_new_tokens: Minimum number of tokens before the end token.
        no_repeat_ngram_size: Forbids repeated n-grams of this size; 0 for no limit.
        repetition_penalty: Values above 1 make generated ids less likely to recur; greedy decoding
            only.
        renormalize: Whether beam search renormalizes the scores over the allowed ids, see
            `kt.decoding.beam_search`.
        source_language: Code of the source language of a multilingual translator.
        target_language: Code of its target language.

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
    max_length_factor: float | None = None
    min_new_tokens: int = 0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    renormalize: bool = False
    source_language: str | None = None
    target_language: str | None = None

    def limits(self, lengths: Sequence[int]) -> list[int]:
        """Returns the maximum number of new tokens for each source, given the source lengths."""
        longest = max(lengths, default=0)
        return [limit_of(self, length, longest) for length in lengths]


def limit_of(
    defaults: DecodingDefaults, length: Any, longest: Any, ceil: Callable[[Any], Any] = math.ceil
) -> Any:
    """Returns the maximum number of new tokens for a source.

    Args:
        defaults: The translator's defaults.
        length: Length of the source: an int, or float64 tensor (B,) with a `ceil` for it.
        longest: Length of the longest source of the batch, in the same form as `length`.
        ceil: Function that rounds up.
    """
    if defaults.max_new_tokens is not None:
        return defaults.max_new_tokens
    if defaults.max_length_factor is not None:
        return ceil(defaults.max_length_factor * length)
    return longest + 50


def search_options(defaults: DecodingDefaults, tokenizer: Any) -> dict[str, Any]:
    """Returns the defaults that `kt.decoding.beam_search` takes, by the names of its arguments.

    Args:
        defaults: The translator's defaults.
        tokenizer: The target tokenizer; its special ids are banned unless `defaults` sets the bans.
    """
    return {
        "banned_ids": _bans(defaults, tokenizer),
        "length_penalty": defaults.length_penalty,
        "length_normalization": defaults.length_normalization,
        "early_stopping": defaults.early_stopping,
        "min_length": defaults.min_new_tokens,
        "no_repeat_ngram_size": defaults.no_repeat_ngram_size,
        "renormalize": defaults.renormalize,
    }


def greedy_options(defaults: DecodingDefaults, tokenizer: Any) -> dict[str, Any]:
    """Returns the defaults that `kt.decoding.generate` takes, like `search_options`."""
    return {
        "banned_ids": _bans(defaults, tokenizer),
        "repetition_penalty": defaults.repetition_penalty,
        "no_repeat_ngram_size": defaults.no_repeat_ngram_size,
        "min_new_tokens": defaults.min_new_tokens,
    }


def overridden(defaults: DecodingDefaults, **options: Any) -> DecodingDefaults:
    """Returns the defaults, overridden by the options that are not None."""
    return defaults._replace(**given(**options))


def _bans(defaults, tokenizer):
    return usual_bans(tokenizer) if defaults.banned_ids is None else defaults.banned_ids


class GenerationDefaults(NamedTuple):
    """Default decoding options of a text generator, used unless overridden in `generate`.

    Attributes:
        max_new_tokens: Maximum number of tokens to generate; None to use `max_length`.
        max_length: Maximum number of tokens of prompt and continuation together; None for 64 new
            tokens.
        min_new_tokens: Minimum number of tokens before the end token.
        no_repeat_ngram_size: Forbids repeated n-grams of this size; 0 for no limit.
        repetition_penalty: Values above 1 make ids that have occurred before less likely.
        sampling: Arguments of a `kt.decoding.RandomSampler`; None for greedy decoding.
        stop_ids: Ids that end a text, in addition to the tokenizer's end token.

    Example:
        >>> import keras_transformer as kt
        >>> kt.GenerationDefaults(sampling={"top_k": 40}).sampler()
        RandomSampler(temperature=1.0, top_k=40, top_p=None, min_p=None)
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int = 0
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    sampling: dict[str, Any] | None = None
    stop_ids: Sequence[int] = ()

    def sampler(self) -> Any:
        """Returns the sampler: "greedy" or a `kt.decoding.RandomSampler`."""
        return "greedy" if self.sampling is None else RandomSampler(**self.sampling)

    def limits(self, lengths: Sequence[int], max_new_tokens: int | None) -> list[int]:
        """Returns the maximum number of new tokens for each prompt, given the prompt lengths."""
        limit = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        if limit is None and self.max_length is not None:
            return [max(1, self.max_length - length) for length in lengths]
        return [64 if limit is None else limit] * len(lengths)


def check_generation_defaults(
    defaults: GenerationDefaults, vocabulary_size: int
) -> GenerationDefaults:
    """Returns the defaults with a tuple of ids, or raises a ValueError if one is invalid."""
    check_positive(**given(max_length=defaults.max_length))
    _check_constraints(defaults)
    sampling = defaults.sampling
    if sampling is not None:
        known = {"temperature", "top_k", "top_p", "min_p"}
        if not isinstance(sampling, dict) or set(sampling) - known:
            raise ValueError(
                f"`sampling` must be None or a dict with keys among {sorted(known)}. "
                f"Received: sampling={sampling!r}."
            )
        defaults.sampler()
    stop_ids = check_banned_ids(defaults.stop_ids, vocabulary_size, "stop_ids")
    return defaults._replace(stop_ids=stop_ids)


def _check_constraints(defaults):
    check_positive(**given(max_new_tokens=defaults.max_new_tokens))
    for name in ("min_new_tokens", "no_repeat_ngram_size"):
        check_integer(0, **{name: getattr(defaults, name)})
    check_above(0, repetition_penalty=defaults.repetition_penalty)


def check_defaults(defaults: DecodingDefaults, vocabulary_size: int) -> DecodingDefaults:
    """Returns the defaults with a tuple of ids, or raises a ValueError if one is invalid."""
    penalty = defaults.length_penalty
    check_above(0, **given(max_length_factor=defaults.max_length_factor))
    _check_constraints(defaults)
    check(is_number(penalty), "be a number", "length_penalty", penalty)
    check_choice(NORMALIZATIONS, length_normalization=defaults.length_normalization)
    check_flag(early_stopping=defaults.early_stopping, renormalize=defaults.renormalize)
    if defaults.banned_ids is None:
        return defaults
    return defaults._replace(banned_ids=check_banned_ids(defaults.banned_ids, vocabulary_size))


def check_banned_ids(
    banned_ids: Any, vocabulary_size: int, name: str = "banned_ids"
) -> tuple[int, ...]:
    """Returns the ids as a tuple, or raises a ValueError if one is not in the vocabulary."""
    listed = isinstance(banned_ids, Sequence) and not isinstance(banned_ids, str)
    if not listed or not all(is_integer(i) and 0 <= i < vocabulary_size for i in banned_ids):
        raise ValueError(
            f"`{name}` must be integers from 0 to {vocabulary_size - 1}. "
            f"Received: {name}={banned_ids!r}."
        )
    return tuple(map(int, banned_ids))


def usual_bans(tokenizer: Any) -> tuple[int, ...]:
    """Returns a tokenizer's special ids except the end id."""
    padding, unknown, start, end = special_ids(tokenizer)
    bans = dict.fromkeys((padding, unknown, start))
    return tuple(token_id for token_id in bans if token_id is not None and token_id != end)


def read_defaults(path: Path, values: Any, kind: type = DecodingDefaults) -> Any:
    """Returns the defaults saved in a folder, or raises a ValueError that names the file."""
    fields = kind._fields  # type: ignore[attr-defined]
    if not isinstance(values, dict) or set(values) - set(fields):
        raise ValueError(
            f"`defaults` in {path} must be an object with keys among {fields}. "
            f"Received: defaults={shortened(values)}."
        )
    return kind(**values)
