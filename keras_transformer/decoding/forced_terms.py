"""Validation of forced terms, which the results of a beam search must contain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.padded_rows import as_list
from keras_transformer.decoding.prompts import as_integer, check_ids
from keras_transformer.decoding.term_tables import Term, TermTables, fewest_tokens

_EXPECTED = "a list of terms, or one list of terms per source"


class AnyOf(NamedTuple):
    """A forced term with alternatives, one of which must appear, such as inflected forms.

    Attributes:
        alternatives: The ids of each alternative.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> term = kt.decoding.AnyOf([[7, 8], [9]])
        >>> result = kt.decoding.beam_search(
        ...     model, [[5, 6, 3]], max_length=7, forced_terms=[term])
        >>> ids = result.ids[0, 0].tolist()
        >>> 9 in ids or (7, 8) in zip(ids, ids[1:])
        True
    """

    alternatives: Sequence[Sequence[int]]


def read_terms(
    forced_terms: Any, parts: DecodingModel, settings: Any, num_rows: int
) -> list[list[Term]] | None:
    """Checks the forced terms of a batch.

    Args:
        forced_terms: A list of terms for all sources, or a list of terms for each; None for none.
        parts: The model's parts.
        settings: The `SearchSettings`.
        num_rows: The number of sources.

    Returns:
        The terms of each source, without those that others imply; None if no source has any.

    Raises:
        ValueError: If the terms are malformed, one is empty or contains an id that cannot be
            generated, or there is only one beam.
    """
    if forced_terms is None:
        return None
    items = as_list("forced_terms", forced_terms, _EXPECTED)
    if all(not _is_term(item) for item in items):
        rows = [as_list("forced_terms", item, _EXPECTED) for item in items]
        if rows and len(rows) != num_rows:
            raise ValueError(
                f"`forced_terms` must be {_EXPECTED}. "
                f"Received: {len(rows)} lists for {num_rows} sources."
            )
    else:
        rows = [items] * num_rows
    excluded = {"`end_id`": (settings.end_id,), "`banned_ids`": settings.banned_ids}
    if parts.padding_id is not None:
        excluded["the padding id of `model`"] = (parts.padding_id,)
    terms = [[_read_term(term, parts.vocabulary_size, excluded) for term in row] for row in rows]
    if not any(terms):
        return None
    if settings.num_beams < 2:
        # With a single hypothesis, a term at this place cannot compete with the same term later on.
        raise ValueError(
            "`num_beams` must be at least 2 with `forced_terms`. "
            f"Received: num_beams={settings.num_beams}."
        )
    return [_without_implied(row) for row in terms]


def ids_of_terms(rows: Sequence[Sequence[Term]]) -> list[list[int]]:
    """Returns the ids that occur in the terms of each source."""
    return [
        [token_id for term in terms for alternative in term for token_id in alternative]
        for terms in rows
    ]


def check_room(tables: TermTables, max_length: int) -> None:
    """Raises a ValueError unless the terms of each source fit the maximum length."""
    needed = fewest_tokens(tables)
    if needed.max() > max_length:
        row = int(needed.argmax())
        raise ValueError(
            "`forced_terms` must fit `max_length`. Received: terms of "
            f"{needed[row]} tokens for source {row}, max_length={max_length}."
        )


def _is_term(item):
    """Whether an item is a term instead of a list of terms; an empty list counts as the latter."""
    if isinstance(item, AnyOf) or as_integer(item) is not None:
        return True
    ids = as_list("forced_terms", item, _EXPECTED)
    return any(as_integer(token_id) is not None for token_id in ids)


def _read_term(term, vocabulary_size, excluded) -> Term:
    alternatives = [term]
    if isinstance(term, AnyOf):
        expected = "terms whose alternatives are lists of ids"
        alternatives = as_list("forced_terms", term.alternatives, expected)
    read = []
    for alternative in alternatives:
        ids = check_ids("forced_terms", alternative, vocabulary_size)
        if not ids:
            raise ValueError(f"`forced_terms` must not contain empty terms. Received: {term!r}.")
        for name, known in excluded.items():
            if found := [token_id for token_id in ids if token_id in known]:
                raise ValueError(
                    f"`forced_terms` must not contain {name}. "
                    f"Received: the id {found[0]} in the term {list(ids)}."
                )
        read.append(ids)
    if not read:
        raise ValueError(f"`forced_terms` must not contain empty terms. Received: {term!r}.")
    return tuple(dict.fromkeys(read))


def _without_implied(terms: list[Term]) -> list[Term]:
    """Drops terms that are part of other terms, and repeated ones."""
    terms = list(dict.fromkeys(terms))
    kept = list(terms)
    for term in terms:
        if any(_implies(other, term) for other in kept if other is not term):
            kept.remove(term)
    return kept


def _implies(term: Term, other: Term) -> bool:
    """Whether every alternative of a term contains an alternative of another term."""
    return all(any(_contains(ids, part) for part in other) for ids in term)


def _contains(ids, part):
    return any(ids[start : start + len(part)] == part for start in range(len(ids)))
