"""The compiled part of beam search: two pools of hypotheses, and one step that sorts into them.

Shape letters: B batch, K beams, R rows (B times K), L new tokens that there is room for, V
vocabulary, C candidates (V, or as many as a shortlist has).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from keras_transformer.decoding.logits import ban_ids, ban_repeated_ngrams, lowest
from keras_transformer.decoding.protocol import DecodingModel
from keras_transformer.decoding.steps import decode_step, prefill, tokens_so_far
from keras_transformer.ops.cache import reorder_cache

Tensor = Any


class SearchSettings(NamedTuple):
    """What a compiled search depends on, beside the shapes of its tensors."""

    num_beams: int
    num_return: int
    end_id: int
    length_penalty: float
    normalization: str
    early_stopping: bool
    banned_ids: tuple[int, ...]
    min_length: int
    no_repeat_ngram_size: int


class SearchState(NamedTuple):
    """Where a search stands.

    Attributes:
        step: scalar, the tokens of each alive hypothesis.
        alive_ids: int (R, L).
        alive_scores: float (B, K), sums of log-probabilities.
        finished_ids: int (R, L).
        finished_scores: float (B, K), normalised; very low where there is none yet.
        finished_lengths: int (B, K).
        done: boolean (B,), whether no alive hypothesis can be returned any more.
        cache: the self-attention's, with R rows.
    """

    step: Tensor
    alive_ids: Tensor
    alive_scores: Tensor
    finished_ids: Tensor
    finished_scores: Tensor
    finished_lengths: Tensor
    done: Tensor
    cache: tuple


def worst_score() -> float:
    """A score that no hypothesis has, and sums with it."""
    return lowest("float32") / 2


def begin_search(
    model,
    settings,
    state,
    prompt_ids,
    prompt_mask,
    buffer,
    history,
    limit,
    candidates=None,
    source_ids=None,
    source_mask=None,
):
    """Encoding, prefill and the first tokens. Returns the state and the context."""
    parts, beams = DecodingModel(model), settings.num_beams
    hidden, cache, context = prefill(
        parts, prompt_ids, prompt_mask, ops.shape(buffer)[1], beams, source_ids, source_mask
    )
    ids = ops.zeros_like(buffer) + ops.zeros_like(history[:, :1])  # (R, L)
    zeros = ops.reshape(ops.cast(ids[:, 0], "float32"), (-1, beams))  # (B, K)
    nothing = zeros + lowest("float32")
    # All beams of a source are equal at first: only one of them counts.
    first = ops.where(ops.arange(beams) == 0, zeros, nothing)
    state = SearchState(
        ops.zeros((), "int32"),
        ids,
        first,
        ids,
        nothing,
        ops.zeros_like(zeros, dtype="int32"),
        ops.zeros_like(zeros[:, 0], dtype="bool"),
        cache,
    )
    return _extend(parts, settings, state, hidden, history, limit, candidates), context


def advance_search(model, settings, state, context, until, history, limit, candidates=None):
    """Steps until so many tokens, or until every source is done. Returns the state."""
    parts = DecodingModel(model)

    def proceed(*state):
        state = SearchState(*state)
        return ops.logical_and(state.step < until, ops.logical_not(ops.all(state.done)))

    def advance(*state):
        state = SearchState(*state)
        hidden, cache = decode_step(parts, context, state.alive_ids, state.step, state.cache)
        state = state._replace(cache=cache)
        return tuple(_extend(parts, settings, state, hidden, history, limit, candidates))

    return SearchState(*ops.while_loop(proceed, advance, tuple(state)))


def _extend(parts, settings, state, hidden, history, limit, candidates):
    """Extends the alive hypotheses by one token and sorts them into the two pools."""
    beams, batch = settings.num_beams, ops.shape(state.done)[0]
    log_probs = _log_probs(parts, settings, state, hidden, history, candidates)  # (R, C)
    num_candidates = log_probs.shape[-1] or ops.shape(log_probs)[-1]
    totals = ops.reshape(state.alive_scores, (-1, 1)) + log_probs
    totals, places = ops.top_k(ops.reshape(totals, (batch, -1)), 2 * beams)  # (B, 2K)
    places = ops.cast(places, "int32")
    parents, tokens = places // num_candidates, places % num_candidates
    if candidates is not None:
        tokens = ops.take(candidates, tokens)
    length = state.step + 1
    ended = ops.logical_or(ops.equal(tokens, settings.end_id), length >= limit)
    rows = parents + beams * ops.arange(batch, dtype="int32")[:, None]  # (B, 2K), into R
    # === Finished ===
    scores = totals[:, :beams] / _length_penalty(settings, length)
    usable = ops.logical_and(ended[:, :beams], totals[:, :beams] > worst_score())
    usable = ops.logical_and(usable, ops.logical_not(state.done)[:, None])
    pool = ops.concatenate([state.finished_scores, ops.where(usable, scores, lowest("float32"))], 1)
    finished_scores, kept = ops.top_k(pool, beams)
    kept = ops.cast(kept, "int32")
    new_ids = _write(state.alive_ids, rows[:, :beams], tokens[:, :beams], state.step)
    finished_ids = _pick(state.finished_ids, new_ids, kept, beams)
    lengths = ops.concatenate(
        [state.finished_lengths, ops.zeros_like(state.finished_lengths) + length], axis=1
    )
    finished_lengths = ops.take_along_axis(lengths, kept, axis=1)
    # === Alive ===
    alive_scores, best = ops.top_k(ops.where(ended, lowest("float32"), totals), beams)
    best = ops.cast(best, "int32")
    rows = ops.take_along_axis(rows, best, axis=1)
    alive_ids = _write(state.alive_ids, rows, ops.take_along_axis(tokens, best, axis=1), state.step)
    return SearchState(
        length,
        alive_ids,
        alive_scores,
        finished_ids,
        finished_scores,
        finished_lengths,
        ops.logical_or(
            state.done, _is_done(settings, alive_scores, finished_scores, length, limit)
        ),
        reorder_cache(state.cache, ops.reshape(rows, (-1,))),
    )


def _log_probs(parts, settings, state, hidden, history, candidates):
    """Log-probabilities (R, C) of the next tokens, very low for those that are not allowed."""
    logits = parts.logits(hidden, candidates)[:, 0]
    log_probs = ops.log_softmax(logits, axis=-1)
    # After the softmax: a score is the sum of the model's own log-probabilities.
    if candidates is None:
        log_probs = ban_ids(log_probs, settings.banned_ids)
    else:
        for banned in settings.banned_ids:
            log_probs = ops.where(ops.equal(candidates, banned), lowest("float32"), log_probs)
    if settings.no_repeat_ngram_size:
        so_far, length = tokens_so_far(history, state.alive_ids, state.step)
        full = ops.zeros((ops.shape(hidden)[0], parts.vocabulary_size), "float32")
        bans = ban_repeated_ngrams(full, so_far, length, settings.no_repeat_ngram_size)
        log_probs = log_probs + (bans if candidates is None else ops.take(bans, candidates, axis=1))
    if settings.min_length:
        ids = ops.arange(parts.vocabulary_size) if candidates is None else candidates
        early = ops.logical_and(ops.equal(ids, settings.end_id), state.step < settings.min_length)
        log_probs = ops.where(early, lowest("float32"), log_probs)
    return log_probs


def _length_penalty(settings, length):
    length = ops.cast(length, "float32")
    base = length if settings.normalization == "length" else (5.0 + length) / 6.0
    return ops.power(base, settings.length_penalty)


def _is_done(settings, alive_scores, finished_scores, length, limit):
    """Whether nothing alive can still enter what will be returned, (B,)."""
    if settings.early_stopping or settings.num_beams == 1:  # one beam is greedy decoding
        return finished_scores[:, -1] > worst_score()
    best_length = limit if settings.length_penalty > 0 else length + 1
    bound = alive_scores[:, 0] / _length_penalty(settings, best_length)
    bar = finished_scores[:, settings.num_return - 1]
    return ops.logical_and(bar > worst_score(), bar >= bound)


def _write(ids, rows, tokens, step):
    """Rows (B, K) of ids (R, L), each with its next token."""
    continued = ops.take(ids, ops.reshape(rows, (-1,)), axis=0)
    return ops.slice_update(continued, (0, step), ops.reshape(tokens, (-1, 1)))


def _pick(first, second, kept, beams):
    """From two pools (R, L) the rows `kept` (B, K), numbers below K being the first pool's."""
    batch = ops.shape(kept)[0]
    offsets = beams * ops.arange(batch, dtype="int32")[:, None]
    place = ops.reshape(kept % beams + offsets, (-1,))
    of_first = ops.reshape(kept < beams, (-1, 1))
    return ops.where(of_first, ops.take(first, place, axis=0), ops.take(second, place, axis=0))
