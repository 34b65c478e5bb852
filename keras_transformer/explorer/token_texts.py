"""Tokens as texts that a person can read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from keras_transformer.data.tokenizers.special_ids import special_ids

_SPACE = "\u2423"  # an open box
_SHOWN = str.maketrans({" ": _SPACE, "\u2581": _SPACE, "\n": "\u21b5", "\t": "\u21e5"})
_WORD_END = "</w>"


class TokenTexts:
    """The readable texts of a tokenizer's ids.

    Spaces are shown as an open box and line ends as an arrow. Byte-level tokens are decoded; bytes
    that are only a part of a character are shown as "<0xE3>".

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
        size = tokenizer.vocabulary_size()
        raw = [tokenizer.id_to_token(index) for index in range(min(size, vocabulary_size))]
        raw += [""] * (vocabulary_size - len(raw))
        show = _reader(raw)
        roles = _roles(tokenizer)
        self.texts = [
            show(text) if text else roles.get(index, f"<{index}>") for index, text in enumerate(raw)
        ]

    def __call__(self, ids: Iterable[int]) -> list[str]:
        """Returns the texts of ids."""
        return [self.texts[int(index)] for index in ids]

    def tokens(self, ids: Iterable[int]) -> list[dict[str, Any]]:
        """Returns ids with their texts, as the page takes them."""
        return [{"id": int(index), "text": self.texts[int(index)]} for index in ids]


def _roles(tokenizer):
    """Names of the special ids that have no piece, as in Firefox's models."""
    padding, unknown, start, end = special_ids(tokenizer)
    names = {padding: "<pad>", unknown: "<unknown>", end: "<end>", start: "<start>"}
    return {index: name for index, name in names.items() if index is not None}


def _reader(raw: Sequence[str]):
    """Returns the function that makes the tokens of this kind of vocabulary readable."""
    alphabet = _byte_alphabet()
    # "\u0120" is the space of byte-level vocabularies.
    if any("\u0120" in text for text in raw) and all(alphabet.keys() >= set(text) for text in raw):
        return lambda text: _shown(bytes(alphabet[one] for one in text))
    if any(text.endswith(_WORD_END) for text in raw):
        return lambda text: text.replace(_WORD_END, _SPACE).translate(_SHOWN)
    return lambda text: text.translate(_SHOWN)


def _shown(content: bytes) -> str:
    text = content.decode("utf-8", "surrogateescape")
    return "".join(
        f"<0x{ord(one) - 0xDC00:02X}>" if 0xDC80 <= ord(one) <= 0xDCFF else one for one in text
    ).translate(_SHOWN)


def _byte_alphabet() -> dict[str, int]:
    """The bytes by the characters that stand for them in byte-level vocabularies.

    Reference: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", whose
    code maps the bytes that are no printable characters to those from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    moved = {chr(256 + index): byte for index, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | moved
