"""Continuations by a language model as text: cut at stop strings, streamed in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import decode
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.generation_loop import GenerationRun
from keras_transformer.decoding.generation_options import GenerationOptions
from keras_transformer.decoding.pace import Pace
from keras_transformer.decoding.padded_rows import check_rows
from keras_transformer.decoding.prompts import check_count

# Number of tokens between checks for stop strings; any text after them is cut.
_TOKENS_PER_LOOK = 16


class Continuations:
    """The continuations of a batch of prompts, as text.

    Args:
        run: The generation run.
        tokenizer: The tokenizer of its ids.
        limits: The maximum number of new tokens of each row.
        stops: Strings before which a continuation ends.
    """

    def __init__(
        self, run: GenerationRun, tokenizer: Any, limits: Sequence[int], stops: Sequence[str]
    ):
        self.run, self.tokenizer, self.limits, self.stops = run, tokenizer, limits, stops

    def finish(self) -> list[str]:
        """Runs to the end and returns the continuation of each row."""
        run, stops = self.run, self.stops
        while not run.is_complete():
            run.advance(run.step + _TOKENS_PER_LOOK if stops else run.limit)
            if stops:
                run.finish([cut(text, stops) != text for text in self._texts()])
        return [cut(text, stops) for text in self._texts()]

    def pieces(self) -> Iterator[str]:
        """Yields the only row's continuation in pieces as they are generated."""
        shown, pace = "", Pace()
        while True:
            (whole,) = self._texts()
            new = cut(whole, self.stops)
            complete = self.run.is_complete() or new != whole
            # Hold back incomplete characters and possible beginnings of stop strings.
            ready = new if complete else _without_open_end(new, self.stops)
            if len(ready) > len(shown):
                yield ready[len(shown) :]
                shown = ready
            if complete:
                return
            pace.advance(self.run)

    def _texts(self):
        """Returns the text generated so far in each row, without its prompt."""
        ends = {special_ids(self.tokenizer).end, *self.run.settings.stop_ids}
        ids = []
        for prompt, row, limit in zip(
            self.run.prompts(), self.run.rows(), self.limits, strict=True
        ):
            # The prompt may contain the end token, which separates texts in GPT-2.
            new = row[len(prompt) :][:limit]
            end = next((index for index, one in enumerate(new) if one in ends), len(new))
            ids.append([*prompt, *new[:end]])
        # Decode with the prompt, since tokenizers drop the space before the first word.
        wholes = decode(self.tokenizer, ids, end_id=None)
        prompts = decode(self.tokenizer, self.run.prompts(), end_id=None)
        return [whole[len(prompt) :] for whole, prompt in zip(wholes, prompts, strict=True)]


def start(
    generator: Any,
    prompts: list[list[int]],
    max_new_tokens: int | None,
    sampler: Any,
    seed: int | None,
    stops: Sequence[str],
    prompts_name: str,
    **options: Any,
) -> Continuations:
    """Starts the continuation of prompts with a text generator.

    Args:
        generator: The `TextGenerator`, whose defaults replace arguments that are None.
        prompts: Rows of ids.
        max_new_tokens: As in `TextGenerator.generate`.
        sampler: As in `TextGenerator.generate`.
        seed: As in `TextGenerator.generate`.
        stops: Strings before which a continuation ends.
        prompts_name: Name of the argument with the prompts, for error messages.
        **options: Further `GenerationOptions`.

    Returns:
        The `Continuations`, before the first token is generated.
    """
    end_id, defaults = special_ids(generator.tokenizer).end, generator.defaults
    limits = defaults.limits([len(prompt) for prompt in prompts], max_new_tokens)
    stop_ids = (*(() if end_id is None else (end_id,)), *defaults.stop_ids)
    usual = GenerationOptions(
        max_new_tokens=max(limits),
        sampler=defaults.sampler() if sampler is None else sampler,
        stop_ids=tuple(dict.fromkeys(stop_ids)),
        seed=seed,
        banned_ids=generator.banned_ids,
        repetition_penalty=defaults.repetition_penalty,
        no_repeat_ngram_size=defaults.no_repeat_ngram_size,
        min_new_tokens=defaults.min_new_tokens,
    )
    given = {name: value for name, value in options.items() if value is not None}
    run = GenerationRun(generator.model, prompts, usual._replace(**given), prompts_name)
    limits = [limit for limit in limits for _ in range(run.settings.num_return)]
    return Continuations(run, generator.tokenizer, limits, stops)


def check_prompts(
    generator: Any, prompts: list[list[int]], max_new_tokens: int | None, name: str, prompt: str
) -> None:
    """Raises a ValueError that names the prompt if one has no tokens or does not fit the model.

    Args:
        generator: The `TextGenerator`.
        prompts: Rows of ids.
        max_new_tokens: As in `TextGenerator.generate`.
        name: Name of the argument with the prompts, for error messages.
        prompt: What error messages call a prompt, with {} for its index.
    """
    parts = DecodingModel(generator.model)
    most = parts.max_length
    check_rows(name, prompts, parts.vocabulary_size, parts.padding_id, most, row_name=prompt)
    if most is None:
        return
    lengths = [len(row) for row in prompts]
    limits = generator.defaults.limits(lengths, max_new_tokens)
    check_count("max_new_tokens", limits[0], 1)
    for index, (length, limit) in enumerate(zip(lengths, limits, strict=True)):
        # The last new token is never fed back, so it needs no position.
        if length + limit - 1 > most:
            raise ValueError(
                f"`{name}` and `max_new_tokens` must fit the model's positions. Received: "
                f"{prompt.format(index)} of length {length} and max_new_tokens={limit}, for {most} "
                "positions."
            )


def fit_together(generator: Any, prompts: list[list[int]], max_new_tokens: int | None) -> bool:
    """Returns whether the longest prompt leaves room for the most new tokens of all prompts."""
    most = DecodingModel(generator.model).max_length
    lengths = [len(row) for row in prompts]
    limits = generator.defaults.limits(lengths, max_new_tokens)
    return most is None or max(lengths) + max(limits) - 1 <= most


def check_stops(stop_strings: Any) -> tuple[str, ...]:
    """Returns stop strings as a tuple, or raises a ValueError."""
    if isinstance(stop_strings, str) or not all(isinstance(s, str) and s for s in stop_strings):
        raise ValueError(
            "`stop_strings` must contain non-empty strings. "
            f"Received: stop_strings={stop_strings!r}."
        )
    return tuple(stop_strings)


def cut(text: str, stops: Sequence[str]) -> str:
    """Returns the text before the first stop string."""
    found = [text.find(stop) for stop in stops if stop in text]
    return text[: min(found)] if found else text


def _without_open_end(text, stops):
    """Returns the text without an ending that later tokens may change."""
    text = text.rstrip("\ufffd")
    longest = 0
    for stop in stops:
        for length in range(1, min(len(stop), len(text) + 1)):
            if text.endswith(stop[:length]):
                longest = max(longest, length)
    return text[: len(text) - longest]
