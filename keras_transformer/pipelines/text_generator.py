"""Text generation with a language model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_transformer.checks import check_positive
from keras_transformer.data.chat import encode_chat
from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.data.tokenizers.text_checks import check_text, check_texts
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.prompts import check_count
from keras_transformer.files import naming_file
from keras_transformer.pipelines.continuations import (
    check_prompts,
    check_stops,
    fit_together,
    start,
)
from keras_transformer.pipelines.defaults import (
    GenerationDefaults,
    check_banned_ids,
    check_generation_defaults,
)
from keras_transformer.pipelines.folder import check_tokenizer
from keras_transformer.pipelines.from_pretrained import open_language_model
from keras_transformer.pipelines.length_batches import in_batches
from keras_transformer.pipelines.text_generator_folder import (
    read_text_generator,
    save_text_generator,
)


class TextGenerator:
    """A language model with its tokenizer.

    Args:
        model: A language model, such as one from `kt.models.gpt`.
        tokenizer: A tokenizer from `kt.data.train_tokenizer`, or any other that implements
            `kt.data.Tokenizer`. Generation stops at its `end_id`, and at the defaults' `stop_ids`.
        banned_ids: Ids that are never generated; None for the tokenizer's padding id.
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
            batch_size: Number of prompts to continue together. They are sorted by length first and
                returned in the order given; a seed gives the same texts for any batch size.
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
            ValueError: as in `kt.decoding.generate`, or if there are no texts, or one is blank, not
                a string, not valid Unicode or too long for the model (the message names it). All
                texts are checked before the first one is continued.
        """
        single = isinstance(texts, str)
        texts = check_texts([texts] if isinstance(texts, str) else texts, filled=True)
        stops = check_stops(stop_strings)
        check_positive(batch_size=batch_size)
        copies = 1 if num_return is None else check_count("num_return", num_return, 1)
        rows = self._encode(texts)
        check_prompts(self, rows, max_new_tokens, "texts", "texts[{}]")

        def run(indices):
            prompts, half = [rows[index] for index in indices], len(indices) // 2
            if half and not fit_together(self, prompts, max_new_tokens):
                return run(indices[:half]) + run(indices[half:])
            continuations = start(
                self,
                prompts,
                max_new_tokens,
                sampler,
                seed,
                stops,
                "texts",
                banned_ids=banned_ids,
                repetition_penalty=repetition_penalty,
                no_repeat_ngram_size=no_repeat_ngram_size,
                min_new_tokens=min_new_tokens,
                num_return=copies,
                # A text's random numbers depend on its overall index, not on its batch.
                row_indices=indices,
            ).finish()
            return [continuations[i : i + copies] for i in range(0, len(continuations), copies)]

        found = in_batches(
            range(len(texts)), batch_size, verbose, run, lambda index: len(rows[index]), "text"
        )
        results: list[Any] = [
            [text + new for new in continuations]
            for text, continuations in zip(texts, found, strict=True)
        ]
        if num_return is None:
            results = [continued for (continued,) in results]
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
        check_text(text, filled=True)
        rows = self._encode([text])
        check_prompts(self, rows, max_new_tokens, "text", "a text")
        return start(
            self,
            rows,
            max_new_tokens,
            sampler,
            seed,
            check_stops(stop_strings),
            "text",
            banned_ids=banned_ids,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            min_new_tokens=min_new_tokens,
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

    def _encode(self, texts):
        return encode(self.tokenizer, texts, start=getattr(self.tokenizer, "add_start", False))

    save = save_text_generator

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
        return cls._of(read_text_generator(folder))

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
        with naming_file(folder):
            opened = open_language_model(folder)
        return cls._of(opened)

    @classmethod
    def _of(cls, opened):
        model, tokenizer, banned_ids, defaults, path = opened
        with naming_file(path):
            return cls(model, tokenizer, banned_ids=banned_ids, defaults=defaults)
