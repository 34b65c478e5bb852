"""Readable text of vocabulary tokens, whatever markers their tokenizer uses."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from keras_transformer.data.tokenizers.special_ids import special_ids

_SPACE = "\u2423"  # an open box
_SHOWN = str.maketrans({" ": _SPACE, "\u2581": _SPACE, "\n": "\u23ce", "\t": "\u21e5"})
_WORD_END = "</w>"
_BYTE_LEVEL_SPACE = "\u0120"


def readable_token(tokenizer: Any, token_id: int) -> str:
    """Returns the readable text of a token id.

    Spaces are shown as open boxes. Byte-level tokens are decoded, and bytes that do not form a
    complete character are written like "<0xE3>". Special ids without text are named by their role.

    Args:
        tokenizer: A tokenizer with a method `id_to_token`.
        token_id: The id; one that the tokenizer does not have is shown as a number.

    Returns:
        The text.
    """
    raw = _raw(tokenizer, token_id)
    if raw:
        return _reader(tokenizer)(raw)
    padding, unknown, start, end = special_ids(tokenizer)
    # Firefox's models start with the padding id, which occurs nowhere else in a text.
    roles = {padding: "<pad>", unknown: "<unknown>", end: "<end>", start: "<start>"}
    return roles.get(token_id, f"<{token_id}>")


def _raw(tokenizer, token_id):
    try:
        return str(tokenizer.id_to_token(token_id))
    except (ValueError, IndexError, KeyError):
        return ""  # an id of the model that its tokenizer does not have


_readers: weakref.WeakKeyDictionary[Any, Callable[[str], str]] = weakref.WeakKeyDictionary()


def _reader(tokenizer):
    """Returns the function that makes the tokens of this kind of vocabulary readable."""
    if tokenizer not in _readers:
        _readers[tokenizer] = _make_reader(tokenizer)
    return _readers[tokenizer]


def _make_reader(tokenizer):
    size = tokenizer.vocabulary_size() if hasattr(tokenizer, "vocabulary_size") else 0
    raw = [_raw(tokenizer, index) for index in range(size)]
    alphabet = _byte_alphabet()
    is_byte_level = any(_BYTE_LEVEL_SPACE in text for text in raw)
    if is_byte_level and all(alphabet.keys() >= set(text) for text in raw):
        return lambda text: _from_bytes(bytes(alphabet[one] for one in text))
    if any(text.endswith(_WORD_END) for text in raw):
        return lambda text: text.replace(_WORD_END, _SPACE).translate(_SHOWN)
    return lambda text: text.translate(_SHOWN)


def _from_bytes(content):
    text = content.decode("utf-8", "surrogateescape")
    return "".join(
        f"<0x{ord(one) - 0xDC00:02X}>" if 0xDC80 <= ord(one) <= 0xDCFF else one for one in text
    ).translate(_SHOWN)


def _byte_alphabet():
    """Maps the characters of byte-level vocabularies to the bytes that they represent.

    Reference: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", whose
    code maps bytes that are not printable characters to characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    moved = {chr(256 + index): byte for index, byte in enumerate(others)}
    return {chr(byte): byte for byte in printable} | moved
