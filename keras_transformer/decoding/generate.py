"""Token-by-token generation with a key-value cache, for language models and translators.

Shape letters: B batch, P prompt width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_transformer.decoding.generation_loop import GenerationRun
from keras_transformer.decoding.generation_options import GenerationOptions
from keras_transformer.decoding.pace import Pace


class Generation(NamedTuple):
    """Generated ids with their log-probabilities.

    Attributes:
        ids: int32, as returned by `kt.decoding.generate` without `return_log_probs`.
        log_probs: float32, with the shape of `ids`: the log-probability of each token under the
            model itself, before any filter or temperature; 0 for prompts and padding.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> result = kt.decoding.generate(lm, [[5, 6]], max_new_tokens=3, return_log_probs=True)
        >>> result.ids.shape, result.log_probs.shape
        ((1, 5), (1, 5))
    """

    ids: np.ndarray
    log_probs: np.ndarray


def generate(
    model: keras.Model,
    prompt_ids: Any,
    max_new_tokens: int = 64,
    sampler: str | Callable = "greedy",
    stop_ids: Sequence[int] = (),
    seed: int | None = None,
    *,
    start_id: int = 2,
    banned_ids: Sequence[int] = (),
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    min_new_tokens: int = 0,
    num_return: int | None = None,
    return_log_probs: bool = False,
    candidate_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    prefix_ids: Any = None,
) -> Any:
    """Continues prompts with a language model, or translates sources.

    Each prompt token passes through the model once; each new token costs one step over the cache.
    A prompt gets the same continuation by itself and in a batch. With random sampling, the same
    seed gives the same row of a batch the same continuation, on every backend.

    The model's padding id does not end a row: inside a prompt, or when generated, it occupies a
    position and is masked, as in a call of the model on the whole row. Generating in several calls,
    each continuing the last one's output, gives the same ids as a single call.

    Args:
        model: A model from `kt.models`, or any that follows `kt.decoding.DecodingModel`.
        prompt_ids: The prompts for a language model, the sources (with their end token) for a
            translator: a list of lists of ids, used unchanged, or an int array (B, P) padded on
            either side with the model's padding id, which is removed.
        max_new_tokens: The maximum number of tokens to generate.
        sampler: "greedy", "random", "top_k", "top_p", "min_p", a sampler such as
            `kt.decoding.TopP(0.9, temperature=0.8)`, or a callable `(logits (B, V), uniform (B,))
            -> ids (B,)` of Keras operations, where `uniform` holds random numbers in [0, 1).
        stop_ids: Ids that end a row.
        seed: Random seed; None draws a new one at each call.
        start_id: The first decoder token of a translation.
        banned_ids: Ids that are never generated.
        repetition_penalty: Values above 1 make ids that occur in the prompt or were generated less
            likely; see `kt.decoding.penalize_repetition`.
        no_repeat_ngram_size: Forbids repeated n-grams of this size, including those of the prompt,
            unless no other id is left; 0 for no limit.
        min_new_tokens: The minimum number of tokens before a stop id may be generated.
        num_return: The number of sequences per prompt, drawn independently; None for one, without
            the axis.
        return_log_probs: Whether to return a `Generation`, with the log-probabilities of the ids.
        candidate_ids: The ids that may be generated, as one list for the whole batch or one per
            prompt, for example from `kt.decoding.LexicalShortlist`. Logits are computed only for
            these, and the probabilities of each prompt's candidates sum to 1. None for the whole
            vocabulary.
        prefix_ids: The ids that each translation must start with, as one row for all or one row per
            source, such as the token of the target language; None for no prefix. They are included
            in the returned ids, but are not new tokens.

    Returns:
        An int32 array (B, longest), or (B, num_return, longest) with `num_return`. Each row holds,
        for a language model, the prompt and the generated ids; for a translator, the generated ids
        without `start_id`. The stop id is included, and rows are padded with 0. With
        `return_log_probs`, a `Generation` of such arrays.

    Raises:
        ValueError: If the batch is empty, a prompt contains only padding, an id is not in the
            vocabulary, the model has too few positions, the sampler is unknown, a number is out of
            range, or the model's logits are not finite.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.decoding.generate(lm, [[5, 6, 7], [8]], max_new_tokens=4).shape
        (2, 7)

    See Also:
        `kt.decoding.stream` yields the tokens one by one; `kt.decoding.beam_search` searches for
        the most likely sequence; `kt.TextGenerator` and `kt.Translator` take text.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1 (auto-regressive decoding).
    """
    options = GenerationOptions(
        max_new_tokens=max_new_tokens,
        sampler=sampler,
        stop_ids=stop_ids,
        seed=seed,
        start_id=start_id,
        banned_ids=banned_ids,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        min_new_tokens=min_new_tokens,
        num_return=num_return,
        return_log_probs=return_log_probs,
        candidate_ids=candidate_ids,
        prefix_ids=prefix_ids,
    )
    run = GenerationRun(model, prompt_ids, options)
    while not run.is_complete():
        run.advance(run.limit)
    ids, log_probs = run.result()
    if num_return is not None:
        ids, log_probs = (x.reshape(-1, num_return, x.shape[1]) for x in (ids, log_probs))
    return Generation(ids, log_probs) if return_log_probs else ids


def stream(
    model: keras.Model,
    prompt_ids: Any,
    *,
    tokens_per_call: int | None = None,
    max_new_tokens: int = 64,
    sampler: str | Callable = "greedy",
    stop_ids: Sequence[int] = (),
    seed: int | None = None,
    start_id: int = 2,
    banned_ids: Sequence[int] = (),
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    min_new_tokens: int = 0,
    candidate_ids: Sequence[int] | Sequence[Sequence[int]] | None = None,
    prefix_ids: Any = None,
) -> Iterator[np.ndarray]:
    """Generates like `kt.decoding.generate`, and yields tokens as they are generated.

    Args:
        model: As in `generate`.
        prompt_ids: As in `generate`.
        tokens_per_call: The number of tokens to generate before they are yielded, one by one. 1
            yields each token immediately; more is faster. None generates for a tenth of a second.
        max_new_tokens: As in `generate`.
        sampler: As in `generate`.
        stop_ids: As in `generate`.
        seed: As in `generate`.
        start_id: As in `generate`.
        banned_ids: As in `generate`.
        repetition_penalty: As in `generate`.
        no_repeat_ngram_size: As in `generate`.
        min_new_tokens: As in `generate`.
        candidate_ids: As in `generate`.
        prefix_ids: As in `generate`; they are not yielded.

    Returns:
        An iterator over int32 arrays (B,), the next token of each row; 0 for rows that are
        complete.

    Raises:
        ValueError: As in `generate`, at the call rather than at the first token, except for logits
            that are not finite.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> tokens = list(kt.decoding.stream(lm, [[5, 6, 7]], max_new_tokens=4))
        >>> len(tokens), tokens[0].shape
        (4, (1,))

    See Also:
        `kt.decoding.generate` returns all tokens at once; `kt.TextGenerator` streams text.
    """
    pace = Pace(tokens_per_call)
    options = GenerationOptions(
        max_new_tokens=max_new_tokens,
        sampler=sampler,
        stop_ids=stop_ids,
        seed=seed,
        start_id=start_id,
        banned_ids=banned_ids,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
        min_new_tokens=min_new_tokens,
        candidate_ids=candidate_ids,
        prefix_ids=prefix_ids,
    )
    run = GenerationRun(model, prompt_ids, options)
    return _tokens(run, pace)


def _tokens(run, pace):
    yield from run.tokens(0)
    while not run.is_complete():
        start = run.step
        pace.advance(run)
        yield from run.tokens(start)
