"""The search for translations of a batch of sources, from ids to strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import decode
from keras_transformer.decoding.beam_search import beam_search
from keras_transformer.decoding.generate import generate
from keras_transformer.decoding.lexical_shortlist import LexicalShortlist
from keras_transformer.pipelines.defaults import DecodingDefaults, greedy_options, search_options


class Translation(NamedTuple):
    """One of the best translations of a sentence.

    Attributes:
        text: The translation.
        score: Its score in the beam search, see `kt.decoding.beam_search`.

    Example:
        >>> import keras_transformer as kt
        >>> kt.Translation("Bonjour.", -0.5).text
        'Bonjour.'
    """

    text: str
    score: float


def translate_rows(
    model: keras.Model,
    tokenizer: Any,
    shortlist: LexicalShortlist | None,
    sources: Sequence[Sequence[int]],
    defaults: DecodingDefaults,
    num_beams: int,
    num_return: int | None,
    prefix_ids: Sequence[int] = (),
    sampler: Any = "greedy",
    seed: int | None = None,
) -> list:
    """Translates a batch of encoded sources.

    Args:
        model: The translator's model.
        tokenizer: The target tokenizer.
        shortlist: The lexical shortlist; None for the whole vocabulary.
        sources: Rows of ids, with their end token.
        defaults: The options.
        num_beams: Beam size; 1 is greedy decoding.
        num_return: Number of translations per source; None for one, as a string.
        prefix_ids: The first ids of each translation, such as the token of its language. As in
            transformers, they count in the length penalty but not in the sum of log-probabilities.
        sampler: The sampler of `kt.decoding.generate`; others than "greedy" need one beam.
        seed: Random seed of the sampler; None draws a new one.

    Returns:
        A list with a string or, with `num_return`, a list of `Translation` for each source.
    """
    ids: Any = special_ids(tokenizer)  # a translator's are never None
    prefix = list(prefix_ids) or None
    limits = defaults.limits([len(source) for source in sources])
    candidate_ids = None if shortlist is None else shortlist(sources)
    if num_beams == 1 and num_return is None:
        rows = generate(
            model,
            sources,
            max(limits),
            sampler,
            stop_ids=(ids.end,),
            seed=seed,
            start_id=ids.start,
            candidate_ids=candidate_ids,
            prefix_ids=prefix,
            **greedy_options(defaults, tokenizer),
        )
        # Each sentence has its own limit, independent of the batch.
        start = len(prefix_ids)
        rows = [row[: start + limit] for row, limit in zip(rows.tolist(), limits, strict=True)]
        return decode(tokenizer, rows, start_id=None)
    if defaults.repetition_penalty != 1.0:
        raise ValueError(
            "`num_beams` must be 1 with a repetition penalty in `translator.defaults`. "
            f"Received: num_beams={num_beams}, "
            f"repetition_penalty={defaults.repetition_penalty}."
        )
    result = beam_search(
        model,
        sources,
        ids.start,
        ids.end,
        num_beams,
        max_length=max(limits),
        num_return=1 if num_return is None else num_return,
        candidate_ids=candidate_ids,
        prefix_ids=prefix,
        count_prefix=True,
        **search_options(defaults, tokenizer),
    )
    texts = decode(tokenizer, result.ids.reshape(-1, result.ids.shape[2]), start_id=None)
    if num_return is None:
        return texts
    pairs = map(Translation, texts, result.scores.reshape(-1).tolist())
    return [list(best) for best in zip(*[pairs] * num_return, strict=True)]
