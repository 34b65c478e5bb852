"""The compiled part of beam search: the pools of alive and finished hypotheses, and one step.

Shape letters: B batch, K beams, R rows (B times K), L capacity for new tokens, P prompt width, D
hidden.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from keras import ops

from keras_transformer.decoding.beam_continuations import find_continuations
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.length_penalty import length_penalty
from keras_transformer.decoding.logit_filters import lowest, worst_score
from keras_transformer.decoding.steps import (
    column,
    decode_step,
    prefill,
    prompt_lengths,
    repeat,
    write_column,
)
from keras_transformer.decoding.term_tracking import pick_tracks, start_tracks
from keras_transformer.ops.cache import DecoderCache, reorder_cache
from keras_transformer.recording import is_recording, report

Tensor = Any


class SearchSettings(NamedTuple):
    """The options that a compiled search depends on, besides its tensors' shapes."""

    num_beams: int
    num_return: int
    end_id: int
    length_penalty: float
    length_normalization: str
    early_stopping: bool
    banned_ids: tuple[int, ...]
    min_length: int
    no_repeat_ngram_size: int
    renormalize: bool = False
    prefix_length: int = 0


class SearchState(NamedTuple):
    """The state of a search between steps.

    Attributes:
        step: scalar, the number of tokens in each alive hypothesis.
        alive_ids: int (R, L).
        alive_scores: float (B, K), sums of log-probabilities.
        ancestors: int (R, L), for each token the beam that its hypothesis occupied at that step.
        finished_ids: int (R, L).
        finished_scores: float (B, K), length-normalized; very low for empty places.
        finished_lengths: int (B, K); 0 for empty places.
        done: boolean (B,), True once no alive hypothesis can be returned.
        cache: The decoder's self-attention cache, with R rows, or B rows with shared slots.
        is_broken: boolean (B,), True once the logits of a source were not finite.
        tracks: `Tracks` of the forced terms in each alive hypothesis; empty without forced terms.
    """

    step: Tensor
    alive_ids: Tensor
    alive_scores: Tensor
    ancestors: Tensor
    finished_ids: Tensor
    finished_scores: Tensor
    finished_lengths: Tensor
    done: Tensor
    cache: tuple
    is_broken: Tensor
    tracks: Any = ()


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
    terms=None,
    source_ids=None,
    source_mask=None,
):
    """Encodes sources, prefills prompts and chooses first tokens; returns state and context."""
    parts, beams = DecodingModel(model), settings.num_beams
    room, source = ops.shape(buffer)[1], (source_ids, source_mask)
    prompts = prompt_ids, prompt_mask, prompt_lengths(history, beams)
    if parts.shares_slots:
        hidden, cache, context = prefill(parts, *prompts, room * beams, 1, *source)
        hidden = repeat(hidden, beams)
    else:
        hidden, cache, context = prefill(parts, *prompts, room, beams, *source)
    ids = ops.zeros_like(buffer) + ops.zeros_like(history[:, :1])  # (R, L)
    zeros = ops.reshape(ops.cast(ids[:, 0], "float32"), (-1, beams))  # (B, K)
    nothing = zeros + lowest("float32")
    # The beams of a source are identical at first, so only one of them gets a valid score.
    first = ops.where(ops.arange(beams) == 0, zeros, nothing)
    state = SearchState(
        ops.zeros((), "int32"),
        ids,
        first,
        ids,
        ids,
        nothing,
        ops.zeros_like(zeros, dtype="int32"),
        ops.zeros_like(zeros[:, 0], dtype="bool"),
        cache,
        ops.zeros_like(zeros[:, 0], dtype="bool"),
        () if terms is None else start_tracks(terms, beams),
    )
    return _extend(parts, settings, state, hidden, history, limit, candidates, terms), context


def advance_search(
    model, settings, state, context, until, history, limit, candidates=None, terms=None
):
    """Extends each alive hypothesis by one token; returns the state."""
    parts = DecodingModel(model)
    if parts.shares_slots:
        hidden, state = _step_in_shared_slots(parts, settings.num_beams, context, state)
    else:
        hidden, cache = decode_step(parts, context, state.alive_ids, state.step, state.cache)
        state = state._replace(cache=cache)
    return _extend(parts, settings, state, hidden, history, limit, candidates, terms)


def _step_in_shared_slots(parts, beams, context, state):
    """Runs the decoder on the last tokens, with those of one source as K queries of one row.

    Slot `P + t K + k` holds token `t` of the hypothesis that was in beam k at that step. The cache
    is never reordered: a mask restricts each hypothesis to the slots of its own ancestors.
    """
    last, rows = state.step - 1, ops.shape(state.alive_ids)[0]
    beam = ops.arange(rows, dtype="int32") % beams
    ancestors = write_column(state.ancestors, last, beam)  # (R, L)
    seen = ops.equal(ancestors[:, :, None], ops.arange(beams, dtype="int32"))  # (R, L, K)
    if parts.padding_id is not None:
        seen = ops.logical_and(seen, ops.not_equal(state.alive_ids, parts.padding_id)[:, :, None])
    width, room = context.width, ops.shape(state.alive_ids)[1]
    seen = ops.reshape(seen, (-1, beams, room * beams))
    prompts = ops.broadcast_to(context.prompt_mask[:, None], (rows // beams, beams, width))
    positions = ops.reshape(repeat(context.prompt_lengths + last, beams), (-1, beams))
    result = parts.decode(
        ops.reshape(column(state.alive_ids, last), (-1, beams)),
        cache=DecoderCache(state.cache, context.cross_cache),
        cache_index=width + last * beams,
        positions=positions,
        # The causal mask hides slots that have not been written yet.
        attention_mask=ops.concatenate([prompts, seen], axis=2),
        **context.source(),
    )
    output = result["output"]  # (B, K, D)
    hidden = ops.reshape(output, (-1, 1, output.shape[2]))
    return hidden, state._replace(cache=result["cache"].self_attention, ancestors=ancestors)


def search_goes_on(state, context, until, history, limit, candidates=None, terms=None):
    """Whether hypotheses have fewer than `until` tokens and some source is not done."""
    return ops.logical_and(state.step < until, ops.logical_not(ops.all(state.done)))


def _extend(parts, settings, state, hidden, history, limit, candidates, terms):
    """Extends the alive hypotheses by one token and sorts them into the two pools."""
    beams, batch = settings.num_beams, ops.shape(state.done)[0]
    totals, parents, tokens, tracks = find_continuations(
        parts, settings, state, hidden, history, limit, candidates, terms
    )
    length = state.step + 1
    ended = ops.logical_or(ops.equal(tokens, settings.end_id), length >= limit)
    rows = parents + beams * ops.arange(batch, dtype="int32")[:, None]  # (B, 2K), into R
    ids = _write(state.alive_ids, rows, tokens, state.step)  # (B * 2K, L)
    # === Finished ===
    # Hypotheses that end among the K best. (Slicing the 2K would make XLA sort all of V.)
    usable = ops.logical_and(ended, ops.arange(2 * beams) < beams)
    usable = ops.logical_and(usable, totals > worst_score())
    usable = ops.logical_and(usable, ops.logical_not(state.done)[:, None])
    scores = ops.where(usable, totals / length_penalty(settings, length), lowest("float32"))
    finished_scores, kept = ops.top_k(ops.concatenate([state.finished_scores, scores], 1), beams)
    kept = ops.cast(kept, "int32")
    # Unusable entries get length 0, since backends order equally low scores differently.
    lengths = ops.concatenate([state.finished_lengths, ops.where(usable, length, 0)], axis=1)
    # === Alive ===
    alive_scores, best = ops.top_k(ops.where(ended, lowest("float32"), totals), beams)
    best = ops.cast(best, "int32")
    if is_recording():
        _report_step(totals, parents, tokens, ops.where(usable, scores, -math.inf), best, kept)
    rows = ops.reshape(ops.take_along_axis(rows, best, axis=1), (-1,))
    return SearchState(
        length,
        _pick(ids, best, 2 * beams),
        alive_scores,
        ops.take(state.ancestors, rows, axis=0),
        _pick_of_two(state.finished_ids, ids, kept, beams),
        finished_scores,
        ops.take_along_axis(lengths, kept, axis=1),
        ops.logical_or(
            state.done, _is_done(settings, alive_scores, finished_scores, length, limit)
        ),
        state.cache if parts.shares_slots else reorder_cache(state.cache, rows),
        ops.logical_or(state.is_broken, ops.any(ops.isnan(totals), axis=1)),
        () if terms is None else pick_tracks(tracks, best),
    )


def _report_step(totals, parents, tokens, scores, alive, finished):
    """Reports the 2K candidates of a step, (B, 2K), and which of them the two pools take, (B, K).

    The candidates are sorted by their totals. Values of `finished` below K refer to hypotheses that
    had finished before.
    """
    order = ops.argsort(-totals, axis=1)
    places = ops.cast(ops.argsort(order, axis=1), "int32")
    beams = ops.shape(alive)[1]
    is_new = finished >= beams
    now = beams + ops.take_along_axis(places, ops.where(is_new, finished - beams, 0), axis=1)
    for name, values in (
        ("totals", totals),
        ("parents", parents),
        ("tokens", tokens),
        ("scores", scores),
    ):
        report(f"beam_search/{name}", ops.take_along_axis(values, order, axis=1))
    report("beam_search/alive", ops.take_along_axis(places, alive, axis=1))
    report("beam_search/finished", ops.where(is_new, now, finished))


def _is_done(settings, alive_scores, finished_scores, length, limit):
    """Whether no alive hypothesis of a source can still be returned, (B,)."""
    if settings.early_stopping or settings.num_beams == 1:  # one beam is greedy decoding
        return finished_scores[:, -1] > worst_score()
    best_length = limit if settings.length_penalty > 0 else length + 1
    bound = alive_scores[:, 0] / length_penalty(settings, best_length)
    bar = finished_scores[:, settings.num_return - 1]
    return ops.logical_and(bar > worst_score(), bar >= bound)


def _write(ids, rows, tokens, step):
    """Returns the rows (B, K) of ids (R, L), each with its next token."""
    continued = ops.take(ids, ops.reshape(rows, (-1,)), axis=0)
    return write_column(continued, step, ops.reshape(tokens, (-1,)))


def _pick(ids, kept, pool):
    """Returns the rows `kept` (B, K) of each of the pools (B * pool, L)."""
    offsets = pool * ops.arange(ops.shape(kept)[0], dtype="int32")[:, None]
    return ops.take(ids, ops.reshape(kept + offsets, (-1,)), axis=0)


def _pick_of_two(first, second, kept, beams):
    """Returns the rows `kept` (B, K) of pools of K and 2K rows; below K selects the first."""
    of_first = ops.reshape(kept < beams, (-1, 1))
    old = _pick(first, ops.minimum(kept, beams - 1), beams)
    return ops.where(of_first, old, _pick(second, ops.maximum(kept - beams, 0), 2 * beams))
