"""Token-by-token generation with a cache, for language models and translators.

Shape letters: B batch, P prompt width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_transformer.decoding.generation_loop import GenerationRun
from keras_transformer.decoding.pace import Pace


class Generation(NamedTuple):
    """Generated ids with their log-probabilities.

    Attributes:
        ids: int32, as `kt.decoding.generate` returns them alone.
        log_probs: float32, of the same shape: the logarithm of the probability that the model
            itself gave each token, before any filter or temperature; 0 where no token was
            generated (prompts and padding).

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
) -> Any:
    """Continues prompts with a language model, or translates sources.

    Each prompt token passes the model once; each new token costs one step over the cache. A prompt
    gives the same continuation alone and in a batch; with a sampler that draws at random, a row of
    the batch gives the same for the same seed, on every backend.

    The model's padding id is no mark of the end: inside a prompt, or generated, it takes a position
    and the tokens after it do not see it, as where the model is called with the whole row. To go on
    with what was generated gives what generating it in one go gives.

    Args:
        model: a model of `kt.models`, or any that follows `kt.decoding.DecodingModel`.
        prompt_ids: for a language model the prompts, for a translator the sources (with their end
            token): a list of lists of ids of any length, taken as they are, or an int array (B, P),
            padded on either side with the model's padding id, which is left out there.
        max_new_tokens: the most tokens to generate.
        sampler: "greedy", "random", "top_k", "top_p", "min_p", a sampler such as
            `kt.decoding.TopP(0.9, temperature=0.8)`, or a callable `(logits (B, V), uniform (B,))
            -> ids (B,)` of Keras operations, where `uniform` holds random numbers in [0, 1).
        stop_ids: ids after which a row is complete.
        seed: of the random numbers; None for others at every call.
        start_id: the token that a translation starts from.
        banned_ids: ids that are never generated.
        repetition_penalty: more than 1 makes ids less likely that stand in the prompt or have been
            generated, see `kt.decoding.penalize_repetition`.
        no_repeat_ngram_size: no run of so many ids occurs twice, the prompt included, as long as
            there is another id; 0 for no limit.
        min_new_tokens: no stop id is generated before so many tokens.
        num_return: sequences of each prompt, drawn independently; None for one.
        return_log_probs: return a `Generation`, the log-probabilities beside the ids.
        candidate_ids: the ids that may be generated, for the whole batch or a list for each prompt,
            such as `kt.decoding.LexicalShortlist` gives. Logits are computed for these alone, and
            the probabilities of a prompt's own sum to 1.

    Returns:
        An int32 array. For a language model (B, longest): each row its prompt, then what was
        generated. For a translator (B, longest): what was generated, without `start_id`. A stop
        token is kept; after it, and to the right of shorter rows, stands 0. With `num_return`
        (B, num_return, longest). With `return_log_probs` a `Generation` of such arrays.

    Raises:
        ValueError: an empty batch, a prompt without a token beside padding, ids outside the
            vocabulary, more positions than the model has learned, an unknown sampler, numbers out
            of their range.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.decoding.generate(lm, [[5, 6, 7], [8]], max_new_tokens=4).shape
        (2, 7)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1 (auto-regressive decoding).
    """
    run = GenerationRun(
        model,
        prompt_ids,
        max_new_tokens,
        sampler,
        stop_ids,
        seed,
        start_id,
        banned_ids,
        repetition_penalty,
        no_repeat_ngram_size,
        min_new_tokens,
        num_return,
        return_log_probs,
        candidate_ids,
    )
    while not run.is_complete():
        run.advance(run.limit)
    ids, log_probs = run.result()
    if num_return is not None:
        ids, log_probs = (x.reshape(-1, num_return, x.shape[1]) for x in (ids, log_probs))
    return Generation(ids, log_probs) if return_log_probs else ids


def stream(
    model: keras.Model, prompt_ids: Any, *, tokens_per_call: int | None = None, **arguments: Any
) -> Iterator[np.ndarray]:
    """Generates as `generate`, and hands out the tokens while more are to come.

    Args:
        model: as in `generate`.
        prompt_ids: as in `generate`.
        tokens_per_call: how many tokens are made before they are handed out, one by one. 1 hands
            each out at once; more cost less. None for what a tenth of a second gives.
        **arguments: the other arguments of `generate`, but for `num_return` and
            `return_log_probs`.

    Returns:
        An iterator over int32 arrays (B,), the next token of each row; 0 for rows that are
        complete.

    Raises:
        ValueError: as `generate`, at the call and not at the first token.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> tokens = list(kt.decoding.stream(lm, [[5, 6, 7]], max_new_tokens=4))
        >>> len(tokens), tokens[0].shape
        (4, (1,))
    """
    pace = Pace(tokens_per_call)
    return _tokens(GenerationRun(model, prompt_ids, **arguments), pace)


def _tokens(run, pace):
    yield from run.tokens(0)
    while not run.is_complete():
        start = run.step
        pace.advance(run)
        yield from run.tokens(start)
