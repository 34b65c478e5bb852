r"""Beam search with separate pools of alive and finished hypotheses.

Shape letters: B batch, K beams, T longest hypothesis, S source length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.decoding.beams import (
    SearchSettings,
    advance_search,
    begin_search,
    best_of_each,
    search_goes_on,
    worst_score,
)
from keras_transformer.decoding.candidates import make_candidates
from keras_transformer.decoding.loop import run_compiled, run_loop
from keras_transformer.decoding.programs import programs_of
from keras_transformer.decoding.prompts import check_count, check_ids, prepare, round_up
from keras_transformer.decoding.protocol import DecodingModel
from keras_transformer.decoding.steps import grow, grow_cache

NORMALIZATIONS = ("gnmt", "length")
_FIRST_ROOM = 64


class BeamSearchResult(NamedTuple):
    """The best hypotheses of each source, the best first.

    Attributes:
        ids: int32 (B, num_return, T), without the start token, with the end token, padded with 0.
        scores: float32 (B, num_return); minus infinity where there are fewer hypotheses, whose
            rows of ids hold 0 alone.
        alignments: float32 (B, num_return, T, S), how much each token attended to each source
            position, the mean over the heads of the last decoder block; None unless asked for.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> kt.decoding.BeamSearchResult(np.array([[[5, 3]]]), np.array([[-0.7]])).ids.shape
        (1, 1, 2)
    """

    ids: np.ndarray
    scores: np.ndarray
    alignments: np.ndarray | None = None


def beam_search(
    model: keras.Model,
    source_ids: Any,
    start_id: int = 2,
    end_id: int = 3,
    num_beams: int = 4,
    length_penalty: float = 0.6,
    max_length: int = 64,
    num_return: int = 1,
    banned_ids: Sequence[int] = (),
    *,
    length_normalization: str = "gnmt",
    early_stopping: bool = False,
    min_length: int = 0,
    no_repeat_ngram_size: int = 0,
    renormalize: bool = False,
    prefix_ids: Any = None,
    candidate_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    return_alignments: bool = False,
) -> BeamSearchResult:
    r"""Searches the translations, or continuations, with the best score.

    A hypothesis of n tokens, the end token included, has the score
    $\sum_i \log P(y_i \mid y_{<i}, x) / lp(n)$ with $lp(n) = ((5 + n) / 6)^\alpha$ ("gnmt") or
    $n^\alpha$ ("length"). Those that reach `max_length` without an end compete as they are. Each
    step looks at the 2K best continuations of the K alive hypotheses, so that K go on even where K
    of them end; those that end among the K best join the finished ones, of which the K best stay.

    The search of a source stops when no alive hypothesis can still beat the `num_return`-th
    finished one: its score can at best become its sum over the lp of the longest hypothesis (for a
    negative penalty, of the next one). What is returned is never charged for what comes after its
    end.

    Args:
        model: a translator or a language model that follows `kt.decoding.DecodingModel`.
        source_ids: the sources with their end token, or a language model's prompts: a list of
            lists of ids, or an int array (B, S), padded on either side, as in
            `kt.decoding.generate`.
        start_id: the token that a translation starts from.
        end_id: the token that ends a hypothesis.
        num_beams: K.
        length_penalty: alpha; 0 compares bare sums, more favours longer hypotheses.
        max_length: the most new tokens of a hypothesis, the end token included.
        num_return: how many hypotheses of each source to return, at most `num_beams`.
        banned_ids: ids that no hypothesis contains.
        length_normalization: "gnmt" or "length", the form of lp.
        early_stopping: stop as soon as there are `num_beams` finished hypotheses, though an alive
            one might still win.
        min_length: no hypothesis has fewer new tokens, the end token not counted.
        no_repeat_ngram_size: no run of so many ids occurs twice; 0 for no limit.
        renormalize: whether the probabilities of what is not banned sum to 1; otherwise scores are
            sums of the model's own log-probabilities, in which what is banned counts.
        prefix_ids: ids that translations must begin with, one row or one for each source; they are
            returned with the hypothesis, but neither scored nor counted in its length.
        candidate_ids: the ids that may be generated, for the whole batch or a list for each source,
            such as `kt.decoding.LexicalShortlist` gives. Logits are computed for these alone, and
            the probabilities of a source's own sum to 1. Must contain `end_id`.
        return_alignments: also return the cross-attention of each token.

    Returns:
        A `BeamSearchResult`. A language model's prompt is not part of its ids.

    Raises:
        ValueError: more beams than the vocabulary has ids (unless there are enough for every
            hypothesis that there can be), more returned than beams, an empty batch, a source
            without a token beside padding, ids outside the vocabulary, more positions than the
            model has learned, numbers out of range.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> result = kt.decoding.beam_search(model, [[5, 6, 3]], max_length=7, num_return=2)
        >>> result.ids.shape[:2], result.scores.shape
        ((1, 2), (1, 2))

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 6.1; Wu et al. 2016, "Google's
        Neural Machine Translation System", section 7, equation 14.
    """
    parts = DecodingModel(model)
    max_length = check_count("max_length", max_length, 1)
    _check_beams(num_beams, num_return, parts.vocabulary_size, max_length)
    if return_alignments and not parts.is_translator:
        raise ValueError(
            "`return_alignments` needs a translator. Received: a model without an encoder."
        )
    if length_normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`length_normalization` must be one of {NORMALIZATIONS}. "
            f"Received: length_normalization={length_normalization!r}."
        )
    settings = SearchSettings(
        check_count("num_beams", num_beams, 1),
        check_count("num_return", num_return, 1),
        check_ids("end_id", [end_id], parts.vocabulary_size)[0],
        _check_length_penalty(length_penalty, max_length),
        length_normalization,
        bool(early_stopping),
        check_ids("banned_ids", banned_ids, parts.vocabulary_size),
        check_count("min_length", min_length, 0),
        check_count("no_repeat_ngram_size", no_repeat_ngram_size, 0),
        bool(renormalize),
    )
    inputs = prepare(parts, source_ids, max_length, start_id, prefix_ids)
    candidates = make_candidates(
        candidate_ids,
        len(inputs.prefixes),
        parts.vocabulary_size,
        settings.end_id,
        best_of_each(settings),
    )
    programs = programs_of(model, settings)
    state = _search(programs, inputs, candidates, max_length)
    ids, lengths, scores = _best(state, settings, inputs.prefixes if parts.is_translator else None)
    alignments = None
    if return_alignments:
        alignments = _align(programs, inputs, ids, lengths, start_id)
    return BeamSearchResult(ids, scores, alignments)


def _check_beams(num_beams, num_return, vocabulary_size, max_length):
    check_count("num_beams", num_beams, 1)
    check_count("num_return", num_return, 1)
    if vocabulary_size < 2:
        raise ValueError(
            "`model` must have at least two ids to search among. "
            f"Received: vocabulary_size={vocabulary_size}."
        )
    # Enough for all prefixes is an exhaustive search, which makes sense on tiny vocabularies.
    exhaustive = num_beams >= (vocabulary_size - 1) ** (max_length - 1)
    if num_beams > vocabulary_size and not exhaustive:
        raise ValueError(
            "`num_beams` must not be above the vocabulary's size. "
            f"Received: num_beams={num_beams}, vocabulary_size={vocabulary_size}."
        )
    if num_return > num_beams:
        raise ValueError(
            "`num_return` must not be above `num_beams`. "
            f"Received: num_return={num_return}, num_beams={num_beams}."
        )


def _check_length_penalty(length_penalty, max_length):
    """Returns it as a float; scores beyond what float32 tells apart are refused."""
    try:
        penalty = float(length_penalty)
    except (TypeError, ValueError):
        penalty = math.nan
    if not abs(penalty) * math.log(max_length + 1) <= 40:
        raise ValueError(
            "`length_penalty` must be a number, so small that `max_length` to the power of it is "
            f"one. Received: length_penalty={length_penalty}, max_length={max_length}."
        )
    return penalty


def _search(programs, inputs, candidates, max_length):
    """Runs the compiled search, with more room for tokens when it is needed."""
    settings = programs.settings
    shares_slots = DecodingModel(programs.model).shares_slots
    room = min(round_up(max_length), _FIRST_ROOM)
    loop = {
        "history": np.repeat(inputs.history, settings.num_beams, axis=0),
        "limit": np.int32(max_length),
    }
    if candidates is not None:
        loop["candidates"] = candidates
    begin = {"buffer": np.zeros((1, room), "int32"), **loop}
    state, context = run_compiled(programs, begin_search, {**inputs.tensors, **begin})
    while (step := int(state.step)) < max_length and not ops.convert_to_numpy(state.done).all():
        if step >= room:
            more = min(round_up(max_length), 4 * room) - room
            tables = (state.alive_ids, state.ancestors, state.finished_ids)
            alive, ancestors, finished = grow(tables, more)
            slots = more * settings.num_beams if shares_slots else more
            state = state._replace(
                alive_ids=alive,
                ancestors=ancestors,
                finished_ids=finished,
                cache=grow_cache(state.cache, slots),
            )
            room += more
        tensors = {**loop, "context": context, "until": np.int32(min(room, max_length))}
        state = run_loop(programs, search_goes_on, advance_search, tensors, state)
    return state


def _best(state, settings, prefixes):
    """Ids (B, num_return, T), prefixes in front, their lengths and their scores."""
    count = settings.num_return
    scores = ops.convert_to_numpy(state.finished_scores)
    batch, beams = scores.shape
    found = ops.convert_to_numpy(state.finished_ids).reshape(batch, beams, -1)
    lengths = ops.convert_to_numpy(state.finished_lengths)
    prefixes = prefixes or [[]] * batch
    rows = [
        [[*prefix, *found[b, k, :n]] if (n := lengths[b, k]) else [] for k in range(count)]
        for b, prefix in enumerate(prefixes)
    ]
    ids = np.zeros((batch, count, max(len(row) for best in rows for row in best)), "int32")
    for b, best in enumerate(rows):
        for k, row in enumerate(best):
            ids[b, k, : len(row)] = row
    scores = scores[:, :count]
    scores = np.where(scores <= worst_score(), -np.inf, scores).astype("float32")
    return ids, np.array([[len(row) for row in best] for best in rows]), scores


def _align(programs, inputs, ids, lengths, start_id):
    """The cross-attention (B, num_return, T, S) of the tokens of each hypothesis."""
    batch, count, length = ids.shape
    rows = ids.reshape(-1, length)
    real = np.arange(length) < lengths.reshape(-1, 1)
    parts = DecodingModel(programs.model)
    # The token at t was chosen where the one before it was read.
    read = np.concatenate([np.full_like(rows[:, :1], start_id), rows[:, :-1]], axis=1)
    may_see = real & (True if parts.padding_id is None else read != parts.padding_id)
    if parts.start_is_padding:
        may_see[:, 0] = True
    tensors = {
        "source_ids": inputs.tensors["source_ids"],
        "source_mask": inputs.tensors["source_mask"],
        "target_ids": read,
        "target_mask": may_see,
    }
    scores = ops.convert_to_numpy(run_compiled(programs, _cross_attention, tensors))
    longest = inputs.longest_source
    scores = np.where(real[:, :, None], scores, 0.0)[..., :longest]
    return scores.reshape(batch, count, length, longest).astype("float32")


def _cross_attention(model, settings, state, source_ids, source_mask, target_ids, target_mask):
    """The mean over the heads of the last block's cross-attention, (B * num_return, T, S)."""
    parts, count = DecodingModel(model), settings.num_return
    result = parts.decode(
        target_ids,
        encoded=ops.repeat(parts.encode(source_ids, source_mask), count, axis=0),
        padding_mask=target_mask,
        encoded_padding_mask=ops.repeat(source_mask, count, axis=0),
        return_attention_scores=True,
    )
    return ops.mean(result["cross_attention_scores"][-1], axis=1)
