"""Token-by-token generation with a cache, for language models and translators.

Shape letters: B batch, P prompt width, L cache slots, S source length, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_transformer.decoding.logits import ban_ids
from keras_transformer.decoding.loop import run_compiled
from keras_transformer.decoding.prompts import pad_rows, round_up
from keras_transformer.decoding.protocol import DecodingModel
from keras_transformer.decoding.samplers import get_sampler

Tensor = Any


class _Settings(NamedTuple):
    """What a compiled generation loop depends on, beside the shapes of its tensors."""

    sampler: Callable
    stop_ids: tuple[int, ...]
    banned_ids: tuple[int, ...]
    padding_id: int | None


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
) -> np.ndarray:
    """Continues prompts with a language model, or translates sources.

    Each prompt token passes the model once; each new token costs one step over the cache. A prompt
    gives the same continuation alone and in a batch.

    Args:
        model: a model of `kt.models`, or any that follows `kt.decoding.DecodingModel`.
        prompt_ids: for a language model the prompts, for a translator the sources (with their end
            token): a list of lists of ids of any length, or an int array (B, P), padded on either
            side with the model's padding id.
        max_new_tokens: the most tokens to generate.
        sampler: "greedy", or a callable `(logits (B, V), seed) -> ids (B,)`.
        stop_ids: ids after which a row is complete.
        seed: for samplers that draw at random.
        start_id: the token that a translation starts from.
        banned_ids: ids that are never generated.

    Returns:
        An int32 array. For a language model (B, longest): each row its prompt, then what was
        generated. For a translator (B, longest): what was generated, without `start_id`. A stop
        token is kept; after it, and to the right of shorter rows, stands 0.

    Raises:
        ValueError: an empty batch or prompt, ids outside the vocabulary, more positions than the
            model has learned, an unknown sampler, `max_new_tokens` below 1.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.decoding.generate(lm, [[5, 6, 7], [8]], max_new_tokens=4).shape
        (2, 7)

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1 (auto-regressive decoding).
    """
    parts = DecodingModel(model)
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, (int, np.integer)):
        raise ValueError(f"`max_new_tokens` must be an integer. Received: {max_new_tokens!r}.")
    if max_new_tokens < 1:
        raise ValueError(f"`max_new_tokens` must be at least 1. Received: {max_new_tokens}.")
    size = parts.vocabulary_size
    _check_ids("stop_ids", stop_ids, size)
    _check_ids("banned_ids", banned_ids, size)
    settings = _Settings(get_sampler(sampler), tuple(stop_ids), tuple(banned_ids), parts.padding_id)
    limits = {
        "limit": np.int32(max_new_tokens),
        "seed": np.int32(seed or 0),
        # Its length is rounded up, and the limit handed in: fewer shapes to compile.
        "buffer": np.zeros((1, round_up(max_new_tokens)), "int32"),
    }
    prepare = _translation_inputs if parts.is_translator else _continuation_inputs
    rows, tensors = prepare(parts, prompt_ids, max_new_tokens, start_id)
    new = run_compiled(_generate, model, settings, {**tensors, **limits})
    return _trim(rows, ops.convert_to_numpy(new), max_new_tokens, stop_ids)


def _translation_inputs(parts, source_ids, max_new_tokens, start_id):
    """The rows that translations begin with, all empty, and the tensors that the loop takes."""
    _check_ids("start_id", [start_id], parts.vocabulary_size)
    embedding = parts.source_embedding
    source = pad_rows(
        "prompt_ids",
        source_ids,
        embedding.vocabulary_size,
        embedding.padding_id,
        parts.source_max_length,
    )
    _check_length(parts, 1, max_new_tokens)
    starts = np.full((len(source.ids), 1), start_id, "int32")
    return [[]] * len(starts), {
        "source_ids": source.ids,
        "source_mask": source.mask,
        "prompt_ids": starts,
        "prompt_mask": np.ones(starts.shape, bool),
    }


def _continuation_inputs(parts, prompt_ids, max_new_tokens, start_id):
    """The prompts as rows, and the tensors that the loop takes; there is no start token."""
    prompts = pad_rows(
        "prompt_ids", prompt_ids, parts.vocabulary_size, parts.padding_id, parts.max_length
    )
    _check_length(parts, max(len(row) for row in prompts.rows), max_new_tokens)
    return prompts.rows, {"prompt_ids": prompts.ids, "prompt_mask": prompts.mask}


def _check_ids(name, ids, vocabulary_size):
    if isinstance(ids, (int, np.integer)):
        raise ValueError(f"`{name}` must be a sequence of ids. Received: {ids}.")
    for token_id in ids:
        if not 0 <= token_id < vocabulary_size:
            raise ValueError(
                f"`{name}` must be in the range [0, {vocabulary_size}). Received: {token_id}."
            )


def _check_length(parts, prompt_length, max_new_tokens):
    # The last new token is never fed back: it needs no position.
    needed = prompt_length + max_new_tokens - 1
    if parts.max_length is not None and needed > parts.max_length:
        raise ValueError(
            "The prompt and `max_new_tokens` must fit the model's positions. Received: "
            f"prompt length={prompt_length}, max_new_tokens={max_new_tokens}, "
            f"max_length={parts.max_length}."
        )


def _generate(
    model,
    settings,
    prompt_ids,
    prompt_mask,
    buffer,
    limit,
    seed,
    source_ids=None,
    source_mask=None,
):
    """The whole generation of a batch: encoding, prefill and steps. Returns (B, buffer length)."""
    parts = DecodingModel(model)
    batch, width = ops.shape(prompt_ids)[:2]
    encoded = None if source_ids is None else parts.encode(source_ids, source_mask)
    source = {} if source_mask is None else {"encoded_padding_mask": source_mask}
    cache = parts.decoder.initial_cache(batch, width + ops.shape(buffer)[1], encoded)
    cross_attention = cache.cross_attention
    lengths = ops.sum(ops.cast(prompt_mask, "int32"), axis=1)  # (B,)
    buffer = ops.zeros_like(buffer) + ops.zeros_like(prompt_ids[:, :1])  # (B, buffer length)

    def choose(hidden, step):
        logits = ban_ids(parts.logits(hidden)[:, 0], settings.banned_ids)
        return ops.cast(settings.sampler(logits, seed + step), "int32")

    def write(buffer, token, finished, step):
        token = ops.where(finished, 0, token)
        for stop_id in settings.stop_ids:
            finished = ops.logical_or(finished, ops.equal(token, stop_id))
        return ops.slice_update(buffer, (0, step), token[:, None]), finished

    def slots_mask(buffer):
        """Which slots hold a real token; the causal mask hides those not yet written."""
        if settings.padding_id is None:
            generated = ops.ones_like(buffer, dtype="bool")
        else:
            generated = ops.not_equal(buffer, settings.padding_id)
        return ops.concatenate([prompt_mask, generated], axis=1)

    def proceed(step, buffer, finished, state):
        return ops.logical_and(step < limit, ops.logical_not(ops.all(finished)))

    def advance(step, buffer, finished, state):
        # The token chosen last enters the cache at its slot; its position is that of its row.
        token = ops.slice(buffer, (0, step - 1), (batch, 1))
        result = parts.decode(
            token,
            cache=cache._replace(self_attention=state, cross_attention=cross_attention),
            cache_index=width + step - 1,
            positions=(lengths + step - 1)[:, None],
            padding_mask=slots_mask(buffer),
            **source,
        )
        chosen = choose(result["output"], step)
        buffer, finished = write(buffer, chosen, finished, step)
        return step + 1, buffer, finished, result["cache"].self_attention

    prefill = parts.decode(
        prompt_ids, cache=cache, cache_index=0, padding_mask=slots_mask(buffer), **source
    )
    last = ops.take_along_axis(prefill["output"], (lengths - 1)[:, None, None], axis=1)
    finished = ops.zeros_like(lengths, dtype="bool")
    buffer, finished = write(buffer, choose(last, 0), finished, 0)
    state = (ops.cast(1, "int32"), buffer, finished, prefill["cache"].self_attention)
    return ops.while_loop(proceed, advance, state)[1]


def _trim(prompts, generated, max_new_tokens, stop_ids):
    """Joins prompts and continuations and cuts the columns that no row uses."""
    generated = generated[:, :max_new_tokens]
    stops = np.isin(generated, list(stop_ids))
    ends = np.where(stops.any(axis=1), stops.argmax(axis=1) + 1, generated.shape[1])
    rows = [
        [*prompt, *row[:end]] for prompt, row, end in zip(prompts, generated, ends, strict=True)
    ]
    ids = np.zeros((len(rows), max(map(len, rows))), "int32")
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return ids
