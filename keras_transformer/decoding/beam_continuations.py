"""The continuations that a step of beam search considers, and their scores.

Shape letters: B batch, K beams, R rows (B times K), V vocabulary, C candidates (V without a
shortlist), M alternatives of forced terms, D hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.logit_filters import lowest, used_ids
from keras_transformer.decoding.steps import tokens_so_far
from keras_transformer.decoding.term_tables import TermTables
from keras_transformer.decoding.term_tracking import choose_continuations, next_of_terms
from keras_transformer.decoding.top_k import top_k
from keras_transformer.decoding.vocabulary_subset import (
    Candidates,
    ban,
    ban_ngrams,
    next_logits,
    of_candidates,
    to_ids,
)

Tensor = Any


class Continuations(NamedTuple):
    """The 2K continuations of each source from which the pools are filled.

    Without forced terms these are the best ones in descending order. With forced terms, the first K
    are those that may finish, and the last K those that stay alive.

    Attributes:
        totals: float (B, 2K), sums of log-probabilities.
        parents: int (B, 2K), the beam of the hypothesis that each one continues.
        tokens: int (B, 2K), the new tokens.
        tracks: `Tracks` of the forced terms in each one; empty without forced terms.
    """

    totals: Tensor
    parents: Tensor
    tokens: Tensor
    tracks: Any = ()


def best_of_each(settings: Any) -> int:
    """Returns how many continuations per hypothesis to consider, so that 2K remain after bans."""
    return 2 * settings.num_beams + len(settings.banned_ids) + 1


def find_continuations(
    parts: DecodingModel,
    settings: Any,
    state: Any,
    hidden: Tensor,
    history: Tensor,
    limit: Tensor,
    candidates: Candidates | None = None,
    terms: TermTables | None = None,
) -> Continuations:
    """Returns each source's 2K best continuations.

    Args:
        parts: The model's parts.
        settings: The `SearchSettings`.
        state: The `SearchState`.
        hidden: float (R, 1, D), the states from which the next tokens are predicted.
        history: int (R, P), the prompts, padded on the left with -1.
        limit: scalar, the maximum number of new tokens.
        candidates: The ids that may be generated; None for the whole vocabulary.
        terms: The forced terms; None for none.

    Returns:
        The `Continuations`.
    """
    beams, batch = settings.num_beams, ops.shape(state.done)[0]
    forced = None if terms is None else next_of_terms(terms, state.tracks)
    logits = next_logits(parts, hidden, candidates)
    # Scores sum the model's own log-probabilities, so the normalizer includes banned ids.
    normalizer = ops.logsumexp(logits, axis=-1, keepdims=True)
    logits = _without_repeats(parts, settings, state, logits, history, candidates, forced)
    if settings.renormalize:
        kept = _without_bans(settings, state, logits, candidates)
        normalizer = ops.logsumexp(kept, axis=-1, keepdims=True)
    # Take the best of each hypothesis first, so that later steps do not run over the vocabulary.
    each = best_of_each(settings)
    if candidates is None:
        each = min(each, parts.vocabulary_size)
    values, tokens = top_k(logits, each)
    tokens = to_ids(tokens, candidates)
    if forced is not None:
        values, tokens = _with_forced(values, tokens, logits, *forced)
        each = ops.shape(tokens)[1]
    values = _ban(settings, state, values - normalizer, tokens)
    totals = ops.reshape(values + ops.reshape(state.alive_scores, (-1, 1)), (batch, beams * each))
    tokens = ops.reshape(tokens, (batch, beams * each))
    tracks: Any = ()
    if terms is None:
        totals, places = ops.top_k(totals, 2 * beams)
    else:
        totals, places, tracks = choose_continuations(terms, settings, state, totals, tokens, limit)
    places = ops.cast(places, "int32")
    tokens = ops.take_along_axis(tokens, places, axis=1)
    return Continuations(totals, places // each, tokens, tracks)


def _without_repeats(parts, settings, state, logits, history, candidates, forced):
    """Bans tokens that would repeat an n-gram, except the next tokens of forced terms."""
    size, vocabulary_size = settings.no_repeat_ngram_size, parts.vocabulary_size
    if not size:
        return logits
    so_far = tokens_so_far(history, state.alive_ids, state.step)
    banned = ban_ngrams(logits, *so_far, size, vocabulary_size, candidates)
    if forced is None:
        return banned
    spared = of_candidates(used_ids(forced[0], vocabulary_size), candidates)
    return ops.where(spared, logits, banned)


def _with_forced(values, tokens, logits, forced_ids, columns):
    """Appends the next tokens of forced terms (R, M) to the best tokens of each hypothesis.

    Those without a token (-1) and those already present get a very low value.
    """
    forced_values = ops.take_along_axis(logits, ops.maximum(columns, 0), axis=1)
    is_present = ops.any(ops.equal(forced_ids[:, :, None], tokens[:, None]), axis=2)
    number = ops.arange(ops.shape(forced_ids)[1], dtype="int32")
    is_same = ops.equal(forced_ids[:, :, None], forced_ids[:, None])  # (R, M, M)
    is_repeated = ops.any(ops.logical_and(is_same, number[:, None] > number), axis=2)
    is_new = ops.logical_not(ops.logical_or(is_present, is_repeated))
    is_new = ops.logical_and(is_new, forced_ids >= 0)
    forced_values = ops.where(is_new, forced_values, lowest("float32"))
    values = ops.concatenate([values, forced_values], axis=1)
    return values, ops.concatenate([tokens, ops.maximum(forced_ids, 0)], axis=1)


def _without_bans(settings, state, logits, candidates):
    """Returns the logits of all tokens, very low where `_ban` bans a token."""
    logits = ban(logits, settings.banned_ids, candidates)
    if not settings.min_length:
        return logits
    is_early = state.step < settings.min_length
    return ops.where(is_early, ban(logits, (settings.end_id,), candidates), logits)


def _ban(settings, state, values, tokens):
    """Makes the values of banned tokens, and of the end token before `min_length`, very low."""
    worst = lowest("float32")
    for banned in settings.banned_ids:
        values = ops.where(ops.equal(tokens, banned), worst, values)
    if not settings.min_length:
        return values
    is_early = state.step < settings.min_length
    return ops.where(ops.logical_and(ops.equal(tokens, settings.end_id), is_early), worst, values)
