"""The search for translations of a batch of sources, from ids to strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import decode
from keras_transformer.decoding.beam_search import beam_search
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.forced_terms import AnyOf
from keras_transformer.decoding.generate import generate
from keras_transformer.decoding.length_penalty import check_length_penalty, length_penalty
from keras_transformer.decoding.lexical_shortlist import LexicalShortlist
from keras_transformer.pipelines.defaults import DecodingDefaults, greedy_options, search_options
from keras_transformer.pipelines.terminology import check_room_for_terms


class Translation(NamedTuple):
    """A translation with its score.

    Attributes:
        text: The translation.
        score: Its score in the beam search, see `kt.decoding.beam_search`: the sum of the
            log-probabilities of its tokens, divided by the length penalty. Greedy decoding computes
            the same score, always from the model's own probabilities.

    Example:
        >>> import keras_transformer as kt
        >>> kt.Translation("Bonjour.", -0.5).text
        'Bonjour.'
    """

    text: str
    score: float


class SearchRow(NamedTuple):
    """A source, and what its translation must contain.

    Attributes:
        source: The ids of the source, with their end token and languages.
        prefix: The ids that the translation starts with: the token of its language, then the ids of
            its `target_prefix`.
        terms: The terms that the translation must contain.
    """

    source: Sequence[int]
    prefix: Sequence[int] = ()
    terms: Sequence[AnyOf] = ()


class SearchOptions(NamedTuple):
    """How to search for translations.

    Attributes:
        defaults: The decoding options.
        num_beams: Beam size; 1 is greedy decoding.
        num_return: Number of translations per source; None for one.
        return_scores: Whether to return the score of a single translation.
        counted: How many ids of each prefix count in the length penalty: only the token of the
            language, as in transformers.
        sampler: The sampler of `kt.decoding.generate`; all except "greedy" require one beam.
        seed: Random seed of the sampler; None draws a new one.
    """

    defaults: DecodingDefaults
    num_beams: int = 1
    num_return: int | None = None
    return_scores: bool = False
    counted: int = 0
    sampler: Any = "greedy"
    seed: int | None = None


def translate_rows(
    model: keras.Model,
    tokenizer: Any,
    shortlist: LexicalShortlist | None,
    rows: Sequence[SearchRow],
    options: SearchOptions,
) -> list:
    """Translates sources.

    Args:
        model: The translator's model.
        tokenizer: The target tokenizer.
        shortlist: The lexical shortlist; None for the whole vocabulary.
        rows: The sources.
        options: How to search.

    Returns:
        For each source a string, a `Translation` with `return_scores`, or a list of `Translation`
        with `num_return`.
    """
    ids: Any = special_ids(tokenizer)  # a translator's are never None
    sources, prefixes = [row.source for row in rows], [list(row.prefix) for row in rows]
    limits = _limits(DecodingModel(model).max_length, rows, options.defaults)
    common = {
        "candidate_ids": None if shortlist is None else shortlist(sources),
        "prefix_ids": prefixes if any(prefixes) else None,
        "start_id": ids.start,
    }
    if options.num_beams == 1 and options.num_return is None:
        return _greedy(model, tokenizer, sources, limits, options, common)
    if options.defaults.repetition_penalty != 1.0:
        raise ValueError(
            "`num_beams` must be 1 with a repetition penalty in `translator.defaults`. "
            f"Received: num_beams={options.num_beams}, "
            f"repetition_penalty={options.defaults.repetition_penalty}."
        )
    limit, terms = max(limits), [list(row.terms) for row in rows]
    if any(terms):
        limit = check_room_for_terms(terms, limit, options.defaults.max_new_tokens)
    result = beam_search(
        model,
        sources,
        end_id=ids.end,
        num_beams=options.num_beams,
        max_length=limit,
        forced_terms=terms if any(terms) else None,
        num_return=1 if options.num_return is None else options.num_return,
        count_prefix=options.counted,
        **common,
        **search_options(options.defaults, tokenizer),
    )
    texts = decode(tokenizer, result.ids.reshape(-1, result.ids.shape[2]), start_id=None)
    found = list(map(Translation, texts, result.scores.reshape(-1).tolist()))
    if options.num_return is None:
        return found if options.return_scores else texts
    return [list(best) for best in zip(*[iter(found)] * options.num_return, strict=True)]


def _limits(max_length, rows, defaults):
    """Returns the maximum number of new tokens of each translation."""
    limits = defaults.limits([len(row.source) for row in rows])
    if max_length is None:
        return limits
    longest = max(len(row.prefix) for row in rows)
    if longest + (defaults.max_new_tokens or 1) > max_length:
        raise ValueError(
            "`max_new_tokens` and `target_prefix` must fit the model's positions. Received: "
            f"max_new_tokens={defaults.max_new_tokens} and a prefix of {longest} ids, "
            f"for {max_length} positions."
        )
    return [min(limit, max_length - longest) for limit in limits]


def _greedy(model, tokenizer, sources, limits, options, common):
    end_id: Any = special_ids(tokenizer).end
    found = generate(
        model,
        sources,
        max(limits),
        options.sampler,
        stop_ids=(end_id,),
        seed=options.seed,
        return_log_probs=options.return_scores,
        **common,
        **greedy_options(options.defaults, tokenizer),
    )
    rows = (found.ids if options.return_scores else found).tolist()
    starts = [len(prefix) for prefix in common["prefix_ids"] or [()] * len(rows)]
    # Each sentence has its own limit, independent of the batch.
    ends = [
        start + _length(row[start : start + limit], end_id)
        for row, start, limit in zip(rows, starts, limits, strict=True)
    ]
    texts = decode(
        tokenizer, [row[:end] for row, end in zip(rows, ends, strict=True)], start_id=None
    )
    if not options.return_scores:
        return texts
    sums = [
        row[start:end].sum() for row, start, end in zip(found.log_probs, starts, ends, strict=True)
    ]
    lengths = np.subtract(ends, starts)
    return list(map(Translation, texts, _scores(np.array(sums), lengths, options)))


def _length(row, end_id):
    """Returns the number of ids of a translation, including its end token if there is one."""
    return row.index(end_id) + 1 if end_id in row else len(row)


class _Scoring(NamedTuple):
    length_penalty: float
    length_normalization: str
    prefix_length: int


def _scores(sums, lengths, options):
    """Returns the scores of a beam search with one beam."""
    defaults = options.defaults
    penalty = check_length_penalty(defaults.length_penalty, int(lengths.max()))
    scoring = _Scoring(penalty, defaults.length_normalization, options.counted)
    return (sums / ops.convert_to_numpy(length_penalty(scoring, lengths))).tolist()
