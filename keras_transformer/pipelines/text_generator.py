"""Text generation with a language model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_transformer.data.chat import encode_chat
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.data.tokenizers.tokenizer_folder import load_tokenizer, save_tokenizer
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.prompts import check_count
from keras_transformer.pipelines.continuations import check_stops, start
from keras_transformer.pipelines.defaults import (
    GenerationDefaults,
    check_banned_ids,
    check_generation_defaults,
    read_defaults,
)
from keras_transformer.pipelines.folder import (
    Kind,
    check_texts,
    check_tokenizer,
    read_description,
    read_model,
    write_folder,
    write_model,
)
from keras_transformer.pipelines.from_pretrained import open_language_model

_KIND = Kind("TextGenerator", "text_generator.json", {})


class TextGenerator:
    """A language model with its tokenizer.

    Args:
        model: A language model, such as one from `kt.models.gpt`.
        tokenizer: A tokenizer from `kt.data.train_tokenizer`, or any other that implements
            `kt.data.Tokenizer`. Generation stops at its `end_id`, and at the defaults' `stop_ids`.
        banned_ids: Ids that are never generated; None for the tokenizer's padding.
        defaults: Default decoding options, used unless overridden in `generate`; None for those of
            `kt.GenerationDefaults`.

    Raises:
        ValueError: if the model is a translator, the tokenizer has more ids than the model, a
            banned id is not in the vocabulary, or a default is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"]
        >>> tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=20, model_type="bpe")
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> generator = kt.TextGenerator(model, tokenizer)
        >>> generator.generate("the cat", max_new_tokens=3).startswith("the cat")
        True
        >>> pieces = generator.stream("the cat", max_new_tokens=3)
        >>> "the cat" + "".join(pieces) == generator.generate("the cat", max_new_tokens=3)
        True

    See Also:
        `kt.Translator` for translation; `kt.decoding.generate` and `kt.decoding.stream` for ids.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Any,
        *,
        banned_ids: Sequence[int] | None = None,
        defaults: GenerationDefaults | None = None,
    ):
        parts = DecodingModel(model)
        if parts.is_translator:
            raise ValueError(
                "`model` must have no layer named `encoder`. "
                f"Received: a translator, named {model.name!r}."
            )
        check_tokenizer("tokenizer", tokenizer, parts.vocabulary_size)
        if banned_ids is None:
            padding, _, _, end = special_ids(tokenizer)
            banned_ids = () if padding in (None, end) else (padding,)
        self.model = model
        self.tokenizer = tokenizer
        self.banned_ids = check_banned_ids(banned_ids, parts.vocabulary_size)
        defaults = GenerationDefaults() if defaults is None else defaults
        self.defaults = check_generation_defaults(defaults, parts.vocabulary_size)

    def generate(
        self,
        texts: str | Sequence[str],
        max_new_tokens: int | None = None,
        sampler: str | Callable | None = None,
        stop_strings: Sequence[str] = (),
        seed: int | None = None,
        batch_size: int = 16,
        verbose: int = 0,
        *,
        num_return: int | None = None,
        banned_ids: Sequence[int] | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        min_new_tokens: int | None = None,
    ) -> Any:
        """Continues texts.

        Args:
            texts: A list of prompts, or a single prompt. Prompts are returned unchanged even if the
                tokenizer lowercases its input.
            max_new_tokens: Maximum number of subwords to generate; None for the generator's
                default, usually 64.
            sampler: As in `kt.decoding.generate`; None for the generator's default, usually
                "greedy".
            stop_strings: Strings before which a continuation ends, in addition to the end token.
            seed: Random seed; None draws a new one at each call.
            batch_size: Number of prompts to continue together, in the order given.
            verbose: 1 shows a progress bar.
            num_return: Number of continuations per prompt, drawn independently; None for one, as a
                string.
            banned_ids: As in `kt.decoding.generate`; None for the generator's `banned_ids`.
            repetition_penalty: As in `kt.decoding.generate`; None for the generator's default.
            no_repeat_ngram_size: As in `kt.decoding.generate`; None for the generator's default.
            min_new_tokens: As in `kt.decoding.generate`; None for the generator's default.

        Returns:
            A list of texts, each a prompt with its continuation, or a string for a single prompt;
            with `num_return`, a list of `num_return` texts instead of each string.

        Raises:
            ValueError: as in `kt.decoding.generate`, or if there are no texts or one is blank.
        """
        single = isinstance(texts, str)
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_texts(texts)
        stops = check_stops(stop_strings)
        copies = 1 if num_return is None else check_count("num_return", num_return, 1)
        results: list[Any] = []
        progress = keras.utils.Progbar(len(texts), verbose=verbose, unit_name="text")
        for first in range(0, len(texts), batch_size):
            chosen = texts[first : first + batch_size]
            continuations = self._start(
                chosen,
                max_new_tokens,
                sampler,
                seed,
                stops,
                banned_ids=banned_ids,
                repetition_penalty=repetition_penalty,
                no_repeat_ngram_size=no_repeat_ngram_size,
                min_new_tokens=min_new_tokens,
                num_return=copies,
                # A text's random numbers depend on its overall index, not on the batch size.
                first_row=first * copies,
                prompts_name="texts",
            )
            prompts = [text for text in chosen for _ in range(copies)]
            results += [p + new for p, new in zip(prompts, continuations.finish(), strict=True)]
            progress.add(len(chosen))
        if num_return is not None:
            results = [results[i : i + copies] for i in range(0, len(results), copies)]
        return results[0] if single else results

    def stream(
        self,
        text: str,
        max_new_tokens: int | None = None,
        sampler: str | Callable | None = None,
        stop_strings: Sequence[str] = (),
        seed: int | None = None,
        *,
        banned_ids: Sequence[int] | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        min_new_tokens: int | None = None,
    ) -> Iterator[str]:
        """Continues one text and yields pieces as they are generated.

        Args:
            text: The prompt.
            max_new_tokens: As in `generate`.
            sampler: As in `generate`.
            stop_strings: As in `generate`.
            seed: As in `generate`.
            banned_ids: As in `generate`.
            repetition_penalty: As in `generate`.
            no_repeat_ngram_size: As in `generate`.
            min_new_tokens: As in `generate`.

        Returns:
            An iterator over pieces of the continuation; joined, they equal what `generate` adds to
            the prompt.

        Raises:
            ValueError: as in `generate`, at the call rather than at the first piece.
        """
        check_texts([text])
        return self._start(
            [text],
            max_new_tokens,
            sampler,
            seed,
            check_stops(stop_strings),
            banned_ids=banned_ids,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            min_new_tokens=min_new_tokens,
            prompts_name="text",
        ).pieces()

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_new_tokens: int | None = None,
        sampler: str | Callable | None = None,
        stop_strings: Sequence[str] = (),
        seed: int | None = None,
        *,
        stream: bool = False,
        template_variables: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Answers the last message of a conversation.

        The conversation is rendered with the tokenizer's chat template, see `kt.data.render_chat`,
        and continued until the token that ends an answer.

        Args:
            messages: The conversation, dicts such as `{"role": "user", "content": "Hello!"}`.
            max_new_tokens: As in `generate`.
            sampler: As in `generate`.
            stop_strings: As in `generate`.
            seed: As in `generate`.
            stream: Whether to return an iterator over pieces of the answer as they are generated.
            template_variables: Further variables of the template.
            **options: `banned_ids`, `repetition_penalty`, `no_repeat_ngram_size` and
                `min_new_tokens`, as in `generate`.

        Returns:
            The answer, or an iterator over its pieces.

        Raises:
            ValueError: as in `generate`, or if the tokenizer has no chat template or the template
                rejects the conversation.
        """
        ids = encode_chat(self.tokenizer, messages, True, **(template_variables or {}))
        stops = check_stops(stop_strings)
        answer = start(
            self, [ids], max_new_tokens, sampler, seed, stops, prompts_name="messages", **options
        )
        return answer.pieces() if stream else answer.finish()[0]

    def _start(self, texts, *arguments, **options):
        with_start = getattr(self.tokenizer, "add_start", False)
        rows = encode(self.tokenizer, texts, start=with_start)
        return start(self, rows, *arguments, **options)

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `model.keras`, the tokenizer and `text_generator.json` to a folder.

        Like `kt.Translator.save`, it writes atomically and without the optimizer.

        Args:
            folder: A new folder, or one that holds a text generator, which is replaced.

        Raises:
            ValueError: if the folder holds something else.
        """

        def write(work):
            write_model(self.model, work)
            save_tokenizer(self.tokenizer, work / "tokenizer")

        description = {"banned_ids": self.banned_ids, "defaults": self.defaults._asdict()}
        write_folder(folder, _KIND, description, write)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> TextGenerator:
        """Loads a folder written by `save`, on any backend.

        Args:
            folder: The folder.

        Returns:
            A `TextGenerator`.

        Raises:
            ValueError: if a file is missing, invalid or damaged; the message names it.
        """
        folder = Path(folder)
        description = read_description(folder, _KIND)
        values = description.get("defaults", {})
        defaults = read_defaults(folder / _KIND.file, values, GenerationDefaults)
        tokenizer = load_tokenizer(folder / "tokenizer")
        banned_ids = description.get("banned_ids")
        return cls(read_model(folder), tokenizer, banned_ids=banned_ids, defaults=defaults)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> TextGenerator:
        """Loads a language model in Hugging Face format or from a GGUF file.

        The model is loaded by `kt.pretrained.load`, the tokenizer by
        `kt.pretrained.load_tokenizer`. Banned ids and the defaults for lengths, repetition and
        sampling come from the checkpoint's generation settings; any other setting that would change
        the generated text raises an error.

        Args:
            folder: A folder, a GGUF file or a name on the Hugging Face hub, as in
                `kt.pretrained.load`.

        Returns:
            A `TextGenerator`.

        Raises:
            ValueError: as in `kt.pretrained.load`, or if the checkpoint is not a language model.
            ImportError: if a package required by a file is not installed.

        Example:
            ```python
            generator = kt.TextGenerator.from_pretrained("openai-community/gpt2")
            generator.generate("The cat sat on the", max_new_tokens=20)
            ```
        """
        model, tokenizer, banned_ids, defaults = open_language_model(folder)
        return cls(model, tokenizer, banned_ids=banned_ids, defaults=defaults)
