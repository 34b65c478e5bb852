"""The loop of `generate` and `stream`: the compiled steps and the Python code that runs them.

Shape letters: R rows (prompts times sequences per prompt), P prompt width, L capacity for new
tokens, V vocabulary, C candidates.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_transformer.decoding.compilation import run_compiled, run_loop
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.finite_logits import check_finite
from keras_transformer.decoding.logit_filters import (
    check_positive_number,
    least_logit,
    penalize_repetition,
    used_ids,
)
from keras_transformer.decoding.padded_rows import round_up
from keras_transformer.decoding.programs import programs_of
from keras_transformer.decoding.prompts import Inputs, check_count, check_ids, prepare
from keras_transformer.decoding.random_numbers import RandomNumbers
from keras_transformer.decoding.samplers import get_sampler, greedy
from keras_transformer.decoding.steps import (
    Context,
    column,
    decode_step,
    grow,
    grow_cache,
    prefill,
    prompt_lengths,
    tokens_so_far,
    write_column,
)
from keras_transformer.decoding.vocabulary_subset import (
    ban,
    ban_ngrams,
    make_candidates,
    next_logits,
    of_candidates,
    to_ids,
)

Tensor = Any

# Initial capacity for new tokens, which then grows fourfold: the cost of attention follows the
# number of generated tokens, not the maximum.
_FIRST_ROOM = 128


class _Settings(NamedTuple):
    """The options that a compiled generation loop depends on, besides its tensors' shapes."""

    sampler: Callable
    stop_ids: tuple[int, ...]
    banned_ids: tuple[int, ...]
    repetition_penalty: float
    no_repeat_ngram_size: int
    min_new_tokens: int
    num_return: int
    log_probs: bool


class _State(NamedTuple):
    """The state of a generation between steps.

    Attributes:
        step: scalar, the number of tokens generated so far.
        new_ids: int (R, L), the tokens generated so far, 0 after a stop.
        log_probs: float (R, L), their log-probabilities if requested, otherwise 0; NaN where the
            logits are not finite.
        finished: boolean (R,), True for rows that have generated a stop id.
        cache: The self-attention cache, with R rows.
    """

    step: Tensor
    new_ids: Tensor
    log_probs: Tensor
    finished: Tensor
    cache: tuple


class GenerationRun:
    """A generation in progress, which can be advanced by any number of tokens."""

    def __init__(self, model, prompt_ids, options, prompts_name="prompt_ids"):
        parts = DecodingModel(model)
        self.model = model
        self.limit = check_count("max_new_tokens", options.max_new_tokens, 1)
        size, num_return = parts.vocabulary_size, options.num_return
        self.settings = _Settings(
            sampler=get_sampler(options.sampler),
            stop_ids=check_ids("stop_ids", options.stop_ids, size),
            banned_ids=check_ids("banned_ids", options.banned_ids, size),
            repetition_penalty=check_positive_number(
                "repetition_penalty", options.repetition_penalty
            ),
            no_repeat_ngram_size=check_count(
                "no_repeat_ngram_size", options.no_repeat_ngram_size, 0
            ),
            min_new_tokens=check_count("min_new_tokens", options.min_new_tokens, 0),
            num_return=1 if num_return is None else check_count("num_return", num_return, 1),
            log_probs=bool(options.return_log_probs),
        )
        names, start = (prompts_name, "max_new_tokens"), (options.start_id, options.prefix_ids)
        self.inputs: Inputs = prepare(parts, prompt_ids, self.limit, *start, names)
        self.candidates = make_candidates(options.candidate_ids, len(self.inputs.prefixes), size)
        self._check_bans(size)
        seed = None if options.seed is None else check_count("seed", options.seed, 0)
        self._begin(seed, options.row_indices)

    def _check_bans(self, vocabulary_size):
        """Raises if a row has no id that it may start with."""
        banned = list(self.settings.banned_ids)
        banned += self.settings.stop_ids if self.settings.min_new_tokens else ()
        allowed = np.ones((1, vocabulary_size), bool)
        if self.candidates is not None:
            allowed = self.candidates.allowed & ~np.isin(self.candidates.ids, banned)
        else:
            allowed[:, banned] = False
        if not allowed.any(axis=1).all():
            banned_ids = reprlib.repr(self.settings.banned_ids)  # may be most of the vocabulary
            raise ValueError(
                "`banned_ids` must leave each row an id to generate, other than `stop_ids` if "
                "`min_new_tokens` is set. "
                f"Received: banned_ids={banned_ids}, stop_ids={self.settings.stop_ids}."
            )

    def _begin(self, seed, row_indices):
        # The capacity is rounded up and the limit passed separately: fewer shapes to compile.
        room = min(round_up(self.limit), _FIRST_ROOM)
        repeats = self.settings.num_return
        indices = range(len(self.inputs.prefixes)) if row_indices is None else row_indices
        rows = [index * repeats + copy for index in indices for copy in range(repeats)]
        # Greedy decoding needs no numbers.
        self.numbers = None if self.settings.sampler is greedy else RandomNumbers(seed, rows)
        self.history = np.repeat(self.inputs.history, repeats, axis=0)
        self.programs = programs_of(self.model, self.settings)
        self._make_loop_tensors(room)
        tensors = {"buffer": np.zeros((1, room), "int32"), **self.loop_tensors}
        self.state, self.context = run_compiled(
            self.programs, _begin, {**self.inputs.tensors, **tensors}
        )
        self._look()

    def _make_loop_tensors(self, room):
        """Makes the constant tensors of the steps, once per capacity rather than per token."""
        if self.numbers is None:
            uniform = np.zeros((len(self.history), room), "float32")
        else:
            uniform = self.numbers.first(room)
        self.loop_tensors = {
            "uniform": ops.convert_to_tensor(uniform),
            "history": ops.convert_to_tensor(self.history),
        }
        if self.candidates is not None:
            self.loop_tensors["candidates"] = self.candidates

    def _look(self):
        self.step = int(self.state.step)
        self.finished = ops.convert_to_numpy(self.state.finished)

    def is_complete(self):
        return self.step >= self.limit or bool(self.finished.all())

    def advance(self, until):
        """Generates until `until` tokens in total, or until all rows are finished."""
        room = self.state.new_ids.shape[1]
        if self.step >= room:
            more = min(round_up(self.limit), 4 * room) - room
            cache = grow_cache(self.state.cache, more)
            new_ids, log_probs = grow((self.state.new_ids, self.state.log_probs), more)
            self.state = self.state._replace(new_ids=new_ids, log_probs=log_probs, cache=cache)
            room += more
            self._make_loop_tensors(room)
        tensors = {**self.loop_tensors, "context": self.context}
        tensors["until"] = np.int32(min(until, room, self.limit))
        self.state = run_loop(self.programs, _proceed, _advance, tensors, self.state)
        self._look()

    def finish(self, rows):
        """Marks rows as finished where `rows` (R,) is True."""
        self.finished = self.finished | np.asarray(rows)
        self.state = self.state._replace(finished=ops.convert_to_tensor(self.finished))

    def rows(self):
        """Returns the prompt and new tokens of each row as a list, up to its stop id."""
        new_ids = self._new_ids()
        return [
            [*prompt, *row[:end].tolist()]
            for prompt, row, end in zip(self.prompts(), new_ids, self._ends(), strict=True)
        ]

    def tokens(self, start):
        """Returns the tokens (R,) of each step from `start` on."""
        return list(self._new_ids()[:, start : self.step].T.copy())

    def result(self):
        """Returns the ids, prompts included, and their log-probabilities, each (R, longest)."""
        new_ids = self._new_ids()
        new_log_probs = ops.convert_to_numpy(self.state.log_probs)
        prompts, ends = self.prompts(), self._ends()
        width = max(len(prompt) + end for prompt, end in zip(prompts, ends, strict=True))
        ids = np.zeros((len(prompts), width), "int32")
        log_probs = np.zeros((len(prompts), width), "float32")
        for index, (prompt, end) in enumerate(zip(prompts, ends, strict=True)):
            start = len(prompt)
            ids[index, :start] = prompt
            ids[index, start : start + end] = new_ids[index, :end]
            log_probs[index, start : start + end] = new_log_probs[index, :end]
        return ids, log_probs

    def prompts(self):
        """Returns the prompt of each row as a list."""
        return [row for row in self.inputs.prefixes for _ in range(self.settings.num_return)]

    def _new_ids(self):
        """Returns the new tokens (R, L), or raises if the logits of one are not finite."""
        log_probs = ops.convert_to_numpy(self.state.log_probs)
        check_finite(np.isnan(log_probs[:, : self.step]).any(axis=1), self.settings.num_return)
        return ops.convert_to_numpy(self.state.new_ids)

    def _ends(self):
        """Returns the number of new tokens of each row, including its stop id."""
        new_ids = ops.convert_to_numpy(self.state.new_ids)[:, : self.step]
        stops = np.isin(new_ids, self.settings.stop_ids)
        return np.where(stops.any(axis=1), stops.argmax(axis=1) + 1, self.step)


def _begin(
    model,
    settings,
    state,
    prompt_ids,
    prompt_mask,
    buffer,
    uniform,
    history,
    candidates=None,
    source_ids=None,
    source_mask=None,
):
    """Encodes, prefills and generates the first token; returns the state and the context."""
    parts = DecodingModel(model)
    room = ops.shape(buffer)[1]
    repeats, source = settings.num_return, (source_ids, source_mask)
    prompts = prompt_ids, prompt_mask, prompt_lengths(history, repeats)
    hidden, cache, context = prefill(parts, *prompts, room, repeats, *source)
    new_ids = ops.zeros_like(buffer) + ops.zeros_like(history[:, :1])  # (R, L)
    state = _State(
        ops.zeros((), "int32"),
        new_ids,
        ops.cast(new_ids, "float32"),
        ops.zeros_like(context.prompt_lengths, dtype="bool"),
        cache,
    )
    return _choose(parts, settings, state, hidden, uniform, history, candidates), context


def _advance(model, settings, state, context: Context, until, uniform, history, candidates=None):
    """Generates one more token for each row; returns the state."""
    parts = DecodingModel(model)
    hidden, cache = decode_step(parts, context, state.new_ids, state.step, state.cache)
    state = state._replace(cache=cache)
    return _choose(parts, settings, state, hidden, uniform, history, candidates)


def _proceed(state, context, until, uniform, history, candidates=None):
    """Whether there are fewer than `until` tokens and some row is not finished."""
    return ops.logical_and(state.step < until, ops.logical_not(ops.all(state.finished)))


def _choose(parts, settings, state, hidden, uniform, history, candidates):
    """Chooses the next token of each row."""
    step = state.step
    logits = next_logits(parts, hidden, candidates)  # (R, V), or (R, C)
    filtered = _filter(parts, settings, logits, state, history, candidates)
    place = ops.cast(settings.sampler(filtered, column(uniform, step)[:, 0]), "int32")
    chosen = ops.take_along_axis(logits, place[:, None], axis=1)[:, 0]
    if settings.log_probs:
        log_prob = chosen - ops.logsumexp(logits, axis=-1)
    else:
        log_prob = ops.where(ops.isfinite(chosen), 0.0, float("nan"))
    log_prob = ops.cast(ops.where(state.finished, 0.0, log_prob), "float32")
    state = state._replace(log_probs=write_column(state.log_probs, step, log_prob))
    finished, token = state.finished, ops.where(state.finished, 0, to_ids(place, candidates))
    for stop_id in settings.stop_ids:
        finished = ops.logical_or(finished, ops.equal(token, stop_id))
    return state._replace(
        step=step + 1,
        new_ids=write_column(state.new_ids, step, token),
        finished=finished,
    )


def _filter(parts, settings, logits, state, history, candidates):
    """Applies the filters of `generate`; bans come last, so that they take precedence."""
    size, vocabulary_size = settings.no_repeat_ngram_size, parts.vocabulary_size
    if settings.repetition_penalty != 1.0 or size:
        so_far, length = tokens_so_far(history, state.new_ids, state.step)
        if settings.repetition_penalty != 1.0:
            seen = of_candidates(used_ids(so_far, vocabulary_size), candidates)
            logits = penalize_repetition(logits, seen, settings.repetition_penalty)
            logits = ops.maximum(logits, least_logit())
        logits = ban_ngrams(logits, so_far, length, size, vocabulary_size, candidates)
    if settings.min_new_tokens and settings.stop_ids:
        early = state.step < settings.min_new_tokens
        logits = ops.where(early, ban(logits, settings.stop_ids, candidates), logits)
    return ban(logits, settings.banned_ids, candidates)
