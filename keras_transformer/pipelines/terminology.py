"""Terminology: the translations that given terms of a source must have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import decode, encode
from keras_transformer.decoding.forced_terms import AnyOf

# A word before the term, to get the subwords that the term has inside a sentence.
_FIRST_WORD = "a"
_MEANING = "map each term to a translation or a list of alternatives, none of them blank"


def find_terms(
    texts: Sequence[str], terminology: Mapping[str, str | Sequence[str]] | None, tokenizer: Any
) -> list[list[AnyOf]]:
    """Finds the terms of a terminology in texts.

    A term matches only whole words. Case is ignored for a term without capital letters; others
    match only as they are written. Where several terms match, the longest is taken.

    Args:
        texts: N texts.
        terminology: The translation of each term, or a list of alternatives; None for no terms.
        tokenizer: The target tokenizer.

    Returns:
        The translations that each text's terms must have, as for `forced_terms` of
        `kt.decoding.beam_search`.

    Raises:
        ValueError: If the terminology is malformed, or the tokenizer cannot represent a translation
            that is needed.
    """
    entries = [] if terminology is None else _by_preference(terminology)
    if not entries:
        return [[] for _ in texts]
    pattern = _pattern([term for term, _ in entries])
    known: dict[int, AnyOf] = {}
    rows = []
    for text in texts:
        found = {match.lastindex - 1 for match in pattern.finditer(text)}
        for index in sorted(found - known.keys()):
            translations = [_ids_inside(tokenizer, one) for one in entries[index][1]]
            known[index] = AnyOf(translations)
        rows.append([known[index] for index in sorted(found)])
    return rows


def check_room_for_terms(
    terms: Sequence[Sequence[AnyOf]], limit: int, max_new_tokens: int | None
) -> int:
    """Returns a maximum number of new tokens in which all terms fit.

    Args:
        terms: The terms of each source.
        limit: The maximum number without terms.
        max_new_tokens: The caller's maximum; None if none was given.

    Raises:
        ValueError: If the terms do not fit the caller's maximum.
    """
    needed = max(sum(min(map(len, term.alternatives)) for term in row) for row in terms)
    if max_new_tokens is not None and needed > max_new_tokens:
        raise ValueError(
            "`terminology` must fit `max_new_tokens`. Received: terms whose translations need "
            f"{needed} subwords in one sentence, max_new_tokens={max_new_tokens}."
        )
    return limit if max_new_tokens is not None else max(limit, needed + 1)


def check_beams_for_terms(num_beams: int) -> None:
    """Raises a ValueError for a single beam, which cannot compare the places for a term."""
    if num_beams < 2:
        raise ValueError(
            f"`num_beams` must be at least 2 with a `terminology`. Received: num_beams={num_beams}."
        )


def _checked(terminology):
    """Returns the alternatives of each term."""
    if not isinstance(terminology, Mapping):
        raise ValueError(f"`terminology` must be a dict. Received: terminology={terminology!r}.")
    checked = {}
    for term, given in terminology.items():
        alternatives = list(given) if isinstance(given, (list, tuple)) else [given]
        words = [term, *alternatives]
        if not alternatives or not all(isinstance(one, str) and one.strip() for one in words):
            raise ValueError(
                f"`terminology` must {_MEANING}. Received: terminology[{term!r}]={given!r}."
            )
        checked[term] = [" ".join(one.split()) for one in alternatives]
    return checked


def _by_preference(terminology):
    """Returns the terms with their alternatives: longer terms first, then those with capitals."""

    def preference(entry):
        return -len(entry[0]), _is_lower(entry[0])

    return sorted(_checked(terminology).items(), key=preference)


def _is_lower(term):
    return term == term.lower()


def _pattern(terms):
    """Returns a pattern of whole words, in which group i + 1 is term i."""
    branches = []
    for term in terms:
        words = r"\s+".join(map(re.escape, term.split()))
        branches.append(f"((?i:{words}))" if _is_lower(term) else f"({words})")
    return re.compile(rf"(?<!\w)(?:{'|'.join(branches)})(?!\w)")


def _ids_inside(tokenizer, term):
    """Returns the ids of a term inside a sentence, with the space before it."""
    first, both = encode(tokenizer, [_FIRST_WORD, f"{_FIRST_WORD} {term}"])
    ids = both[len(first) :] if both[: len(first)] == first else encode(tokenizer, [term])[0]
    (text,) = decode(tokenizer, [[*first, *ids]], None, None, None)
    if term not in text or set(ids).intersection(special_ids(tokenizer)):
        raise ValueError(
            "`terminology` must have translations that the target tokenizer can represent. "
            f"Received: {term!r}, which becomes {text!r} after {_FIRST_WORD!r}."
        )
    return ids
