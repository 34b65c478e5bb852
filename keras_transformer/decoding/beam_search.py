r"""Beam search with separate pools of alive and finished hypotheses.

Shape letters: B batch, K beams, T length of the longest hypothesis, S source length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.checks import check_choice
from keras_transformer.decoding.beam_alignments import align
from keras_transformer.decoding.beam_continuations import best_of_each
from keras_transformer.decoding.beam_search_loop import (
    SearchSettings,
    advance_search,
    begin_search,
    search_goes_on,
)
from keras_transformer.decoding.compilation import run_compiled, run_loop
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.finite_logits import check_finite
from keras_transformer.decoding.forced_terms import check_room, ids_of_terms, read_terms
from keras_transformer.decoding.length_penalty import (
    NORMALIZATIONS,
    check_length_penalty,
    counted_ids,
)
from keras_transformer.decoding.logit_filters import worst_score
from keras_transformer.decoding.padded_rows import round_up
from keras_transformer.decoding.programs import programs_of
from keras_transformer.decoding.prompts import check_count, check_id, check_ids, prepare
from keras_transformer.decoding.steps import grow, grow_cache
from keras_transformer.decoding.term_tables import make_tables
from keras_transformer.decoding.vocabulary_subset import make_candidates

_FIRST_ROOM = 64


class BeamSearchResult(NamedTuple):
    """The best hypotheses of each source, best first.

    Attributes:
        ids: int32 (B, num_return, T), without the start token, with the end token, padded with 0.
        scores: float32 (B, num_return); minus infinity for missing hypotheses, whose ids are all 0.
        alignments: float32 (B, num_return, T, S), the attention of each token to each source
            position, averaged over the heads of the last decoder block; None unless requested.

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
    count_prefix: bool | int = False,
    candidate_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    forced_terms: Any = None,
    return_alignments: bool = False,
) -> BeamSearchResult:
    r"""Finds the translations, or continuations, with the best scores by beam search.

    A hypothesis of n tokens, including the end token, has the score
    $\sum_i \log P(y_i \mid y_{<i}, x) / lp(n)$ with $lp(n) = ((5 + n) / 6)^\alpha$ ("gnmt") or
    $n^\alpha$ ("length"). Hypotheses that reach `max_length` without an end token compete as well.
    Each step considers the 2K best continuations of the K alive hypotheses, so that K stay alive
    even if K of them end; those that end among the K best join the finished pool of K.

    The search of a source stops when no alive hypothesis can beat the `num_return`-th finished one.
    The bound on an alive score is its current sum divided by the lp of the maximum length (for a
    negative penalty, of the next length). Tokens after the end token never affect a score.

    With `forced_terms`, hypotheses end only if they contain all terms of their source. Occurrences
    may overlap, and one is enough even if a term is given twice. Terms in `prefix_ids` count; those
    in a language model's prompt do not. Scores remain those of the model. With enough beams for all
    hypotheses, the results are the best that contain the terms. With fewer, there is still a result
    for each source, provided that the model excludes none of the ids; for good results, use more
    beams than the terms have tokens. The next token of a missing term is exempt from
    `no_repeat_ngram_size`, and the ids of a source's terms are added to its candidates.

    Args:
        model: A translator or a language model that follows `kt.decoding.DecodingModel`.
        source_ids: The sources with their end token, or a language model's prompts: a list of
            lists of ids, or an int array (B, S) padded on either side, as in
            `kt.decoding.generate`.
        start_id: The first decoder token of a translation.
        end_id: The token that ends a hypothesis.
        num_beams: K, the beam size.
        length_penalty: alpha; 0 compares plain sums, larger values favor longer hypotheses.
        max_length: The maximum number of new tokens of a hypothesis, including the end token.
        num_return: The number of hypotheses to return per source, at most `num_beams`.
        banned_ids: Ids that are never generated.
        length_normalization: "gnmt" or "length", the form of lp.
        early_stopping: Whether to stop once there are `num_beams` finished hypotheses, even if an
            alive one could still beat them.
        min_length: The minimum number of new tokens of a hypothesis, excluding the end token.
        no_repeat_ngram_size: Forbids repeated n-grams of this size; 0 for no limit.
        renormalize: Whether to renormalize the probabilities after bans; otherwise scores are sums
            of the model's own log-probabilities, which include the banned ids.
        prefix_ids: The ids that each translation must start with, as one row for all or one row per
            source; None for no prefix. They are included in the returned ids, but not in the score
            or, unless `count_prefix`, the length.
        count_prefix: Whether the length n in the score includes the prefix, as transformers counts
            forced tokens; all prefixes must then have the same length. An integer counts only that
            many ids of each prefix. It does not affect `max_length` or `min_length`.
        candidate_ids: The ids that may be generated, as one list for the whole batch or one per
            source, for example from `kt.decoding.LexicalShortlist`. Logits are computed only for
            these, and the probabilities of each source's candidates sum to 1. Must contain
            `end_id`. None for the whole vocabulary.
        forced_terms: The terms that each hypothesis must contain, as one list for all sources or
            one list per source. A term is a list of ids that must appear consecutively, or a
            `kt.decoding.AnyOf` with several such lists as alternatives. None for no terms.
        return_alignments: Whether to return the cross-attention of each token.

    Returns:
        A `BeamSearchResult`. Its ids do not include the prompts of a language model.

    Raises:
        ValueError: If there are more beams than ids in the vocabulary (unless there are enough for
            an exhaustive search) or more hypotheses to return than beams, the batch is empty, a
            source contains only padding, an id is not in the vocabulary, the model has too few
            positions, `count_prefix` is set for prefixes of different lengths, a forced term is
            empty, contains an id that cannot be generated or does not fit, there is only one beam
            for forced terms, a number is out of range, or the model's logits are not finite.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.transformer(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> result = kt.decoding.beam_search(model, [[5, 6, 3]], max_length=7, num_return=2)
        >>> result.ids.shape[:2], result.scores.shape
        ((1, 2), (1, 2))

    See Also:
        `kt.decoding.generate` decodes greedily or samples; `kt.decoding.score` scores given
        targets; `kt.Translator` takes text; `kt.visualize.beam_tree` draws the search.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 6.1; Wu et al. 2016, "Google's
        Neural Machine Translation System", section 7, equation 14. Forced terms: Post and Vilar
        2018, "Fast Lexically Constrained Decoding with Dynamic Beam Allocation for Neural Machine
        Translation", section 3.
    """
    parts = DecodingModel(model)
    max_length = check_count("max_length", max_length, 1)
    _check_beams(num_beams, num_return, parts.vocabulary_size, max_length)
    if return_alignments and not parts.is_translator:
        raise ValueError(
            "`return_alignments` requires a translator. Received: a model without an encoder."
        )
    check_choice(NORMALIZATIONS, length_normalization=length_normalization)
    settings = SearchSettings(
        check_count("num_beams", num_beams, 1),
        check_count("num_return", num_return, 1),
        check_id("end_id", end_id, parts.vocabulary_size),
        check_length_penalty(length_penalty, max_length),
        length_normalization,
        bool(early_stopping),
        check_ids("banned_ids", banned_ids, parts.vocabulary_size),
        check_count("min_length", min_length, 0),
        check_count("no_repeat_ngram_size", no_repeat_ngram_size, 0),
        bool(renormalize),
    )
    names = ("source_ids", "max_length")
    inputs = prepare(parts, source_ids, max_length, start_id, prefix_ids, names)
    if count_prefix and prefix_ids is not None:
        settings = settings._replace(prefix_length=counted_ids(count_prefix, inputs.prefixes))
    # The results of a language model do not include its prompt.
    prefixes = inputs.prefixes if parts.is_translator else [[]] * len(inputs.prefixes)
    tables = _make_tables(parts, settings, prefixes, max_length, candidate_ids, forced_terms)
    programs = programs_of(model, settings)
    state = _search(programs, inputs, tables, max_length)
    check_finite(ops.convert_to_numpy(state.is_broken))
    ids, lengths, scores = _best(state, settings, prefixes)
    alignments = None
    if return_alignments:
        alignments = align(programs, inputs, ids, lengths, start_id)
    return BeamSearchResult(ids, scores, alignments)


def _make_tables(parts, settings, prefixes, max_length, candidate_ids, forced_terms):
    """Returns the candidates and forced terms of the batch, by the names of their arguments."""
    terms = read_terms(forced_terms, parts, settings, len(prefixes))
    candidates = make_candidates(
        candidate_ids,
        len(prefixes),
        parts.vocabulary_size,
        settings.end_id,
        best_of_each(settings),
        None if terms is None else ids_of_terms(terms),
    )
    made: dict[str, Any] = {} if candidates is None else {"candidates": candidates}
    if terms is not None:
        made["terms"] = make_tables(terms, prefixes, candidates)
        check_room(made["terms"], max_length)
    return made


def _check_beams(num_beams, num_return, vocabulary_size, max_length):
    check_count("num_beams", num_beams, 1)
    check_count("num_return", num_return, 1)
    if vocabulary_size < 2:
        raise ValueError(
            "`model` must have at least two ids in its vocabulary. "
            f"Received: vocabulary_size={vocabulary_size}."
        )
    # A beam for every prefix makes the search exhaustive, which is useful on tiny vocabularies. A
    # longer maximum than this has more prefixes than beams anyway.
    steps = min(max_length - 1, int(num_beams).bit_length())
    exhaustive = num_beams >= (vocabulary_size - 1) ** steps
    if num_beams > vocabulary_size and not exhaustive:
        raise ValueError(
            "`num_beams` must be at most the size of the vocabulary. "
            f"Received: num_beams={num_beams}, vocabulary_size={vocabulary_size}."
        )
    if num_return > num_beams:
        raise ValueError(
            "`num_return` must be at most `num_beams`. "
            f"Received: num_return={num_return}, num_beams={num_beams}."
        )


def _search(programs, inputs, tables, max_length):
    """Runs the compiled search, growing the capacity for tokens as needed."""
    settings = programs.settings
    shares_slots = DecodingModel(programs.model).shares_slots
    room = min(round_up(max_length), _FIRST_ROOM)
    loop = {
        "history": np.repeat(inputs.history, settings.num_beams, axis=0),
        "limit": np.int32(min(max_length, np.iinfo("int32").max)),
        **tables,
    }
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
    """Returns ids (B, num_return, T), prefixes included, with their lengths and scores."""
    count = settings.num_return
    scores = ops.convert_to_numpy(state.finished_scores)
    batch, beams = scores.shape
    found = ops.convert_to_numpy(state.finished_ids).reshape(batch, beams, -1)
    lengths = ops.convert_to_numpy(state.finished_lengths)
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
