"""The tokenizer interface, and the base class of this package's tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from keras_transformer.checks import check_choice, check_integer
from keras_transformer.data.tokenizers.special_ids import SpecialIds, check_special_ids
from keras_transformer.data.tokenizers.text_checks import check_texts


class Tokenizer(Protocol):
    """The tokenizer interface that `kt.data` and the pipelines expect.

    The tokenizers of keras-hub and `kt.data` implement it. A tokenizer may also have the
    attributes `padding_id`, `unknown_id`, `start_id` and `end_id`; see `kt.data.special_ids`.

    Example:
        >>> import keras_transformer as kt
        >>> class Letters:
        ...     end_id, padding_id, start_id, unknown_id = 0, None, None, None
        ...     def __call__(self, texts):
        ...         return [[ord(letter) - 96 for letter in text] for text in texts]
        ...     def detokenize(self, rows):
        ...         return ["".join(chr(96 + i) for i in row) for row in rows]
        ...     def vocabulary_size(self):
        ...         return 27
        ...     def id_to_token(self, token_id):
        ...         return chr(96 + token_id)
        ...     def token_to_id(self, token):
        ...         return ord(token) - 96
        >>> kt.data.encode(Letters(), ["cab"], end=True)
        [[3, 1, 2, 0]]
    """

    def __call__(self, texts: list[str], /) -> Any:
        """Converts N strings to N rows of ids, without adding special ids."""

    def detokenize(self, rows: list[list[int]], /) -> Any:
        """Converts N rows of ids to N strings."""

    def vocabulary_size(self) -> int:
        """Returns the number of ids."""

    def id_to_token(self, token_id: int, /) -> str:
        """Returns the token of an id."""

    def token_to_id(self, token: str, /) -> int | None:
        """Returns the id of a token."""


# Where multilingual models expect a text's language.
LANGUAGE_FORMS = ("source_first", "source_last", "target_first")


class SpecialTokenizer:
    """Base class of tokenizers that know their special ids and can be saved.

    Args:
        ids: The special ids.
        num_tokens: Number of ids in the vocabulary.
        vocabulary_size: Total number of ids. None: just enough for the vocabulary and `ids`.

    Attributes:
        languages: The ids of language tokens by code; empty unless the model is multilingual.
        language_form: "source_first" if a source starts with the token of the source language,
            "source_last" if it ends with that token, after the end id, or "target_first" if it
            starts with the token of the target language. In the first two forms, a translation
            starts with the token of the target language.
    """

    languages: dict[str, int] = {}
    language_form: str = "source_first"

    def __init__(self, ids: SpecialIds, num_tokens: int, vocabulary_size: int | None) -> None:
        if vocabulary_size is None:
            needed = [value + 1 for value in ids if isinstance(value, int)]
            vocabulary_size = max(num_tokens, *needed, 0)
        else:
            check_integer(num_tokens, vocabulary_size=vocabulary_size)
        check_special_ids(ids, vocabulary_size)
        self._vocabulary_size = int(vocabulary_size)
        self.padding_id, self.unknown_id, self.start_id, self.end_id = ids

    def _set_languages(
        self, tokens: Sequence[str], form: str, id_of: Callable[[str], int | None]
    ) -> None:
        """Sets the language tokens; the code of a language is "fr" for "__fr__" or "<2fr>"."""
        check_choice(LANGUAGE_FORMS, language_form=form)
        if isinstance(tokens, str):
            raise ValueError(
                "`language_tokens` must be a sequence of strings. "
                f"Received: language_tokens={tokens!r}."
            )
        ids = {token: id_of(token) for token in tokens}
        missing = [token for token, token_id in ids.items() if token_id is None]
        if missing:
            raise ValueError(
                f"`vocabulary` must contain all `language_tokens`. Received: no {missing[:8]}."
            )
        self.language_tokens = tuple(tokens)
        self.language_form = form
        self.languages = {
            token.removeprefix("<2").strip("_>"): token_id
            for token, token_id in ids.items()
            if token_id is not None
        }

    def _encode(self, texts: list[str]) -> list[list[int]]:
        raise NotImplementedError

    def __call__(self, texts: Iterable[str]) -> list[list[int]]:
        """Converts N strings to N lists of ids, without start and end ids.

        Args:
            texts: Iterable of N strings.

        Returns:
            N lists of Python integers.

        Raises:
            ValueError: If `texts` is a single string or holds anything but strings of valid
                Unicode.
        """
        texts = check_texts(texts)
        return self._encode(texts) if texts else []

    def detokenize(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Converts N rows of ids to N strings, dropping special ids.

        Args:
            rows: N sequences of ids.

        Returns:
            N strings.
        """
        raise NotImplementedError

    def vocabulary_size(self) -> int:
        """Returns the number of ids."""
        return self._vocabulary_size

    def check_id(self, token_id: int) -> None:
        """Raises a ValueError for an id outside the vocabulary."""
        if not 0 <= token_id < self._vocabulary_size:
            raise ValueError(
                "`token_id` must be at least 0 and below the vocabulary size of "
                f"{self._vocabulary_size}. Received: token_id={token_id}."
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments, except the vocabulary."""
        ids = SpecialIds(self.padding_id, self.unknown_id, self.start_id, self.end_id)
        return {**ids.named, "vocabulary_size": self._vocabulary_size}


# Word-level tokenizers leave a space before these; English does not.
SPACED_MARKS = ".?!,"
SPACED_ENDINGS = ("n't", "'m", "'s", "'ve", "'re")


def clean_spaces(text: str) -> str:
    """Removes the spaces that word-level tokenizers leave around punctuation.

    Args:
        text: Text joined from tokens.

    Returns:
        The text in English spacing, by the rules of Hugging Face's tokenizers.
    """
    for mark in SPACED_MARKS:
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    for ending in SPACED_ENDINGS:
        text = text.replace(f" {ending}", ending)
    return text
