"""Tokens as texts that a person can read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_transformer.visualize.readable_tokens import readable_token


class TokenTexts:
    """The readable texts of a tokenizer's ids, as `readable_token` returns them.

    Args:
        tokenizer: A tokenizer that implements `kt.data.Tokenizer`.
        vocabulary_size: The number of ids of the model, which may be more than the tokenizer's.

    Example:
        >>> import keras_transformer as kt
        >>> from keras_transformer.explorer.token_texts import TokenTexts
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> texts = TokenTexts(tokenizer, 11)
        >>> "".join(texts(tokenizer(["a cat"])[0]))
        '␣a␣cat'
    """

    def __init__(self, tokenizer: Any, vocabulary_size: int):
        self.tokenizer = tokenizer
        self.texts = [readable_token(tokenizer, index) for index in range(vocabulary_size)]

    def __call__(self, ids: Iterable[int]) -> list[str]:
        """Returns the texts of ids."""
        return [self.texts[int(index)] for index in ids]

    def tokens(self, ids: Iterable[int]) -> list[dict[str, Any]]:
        """Returns ids with their texts, in the form that the page reads."""
        return [{"id": int(index), "text": self.texts[int(index)]} for index in ids]
