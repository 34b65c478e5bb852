"""The tokenizer inside a GGUF file: byte-level BPE, run by the package tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.pretrained.gguf_file import GGUFFile
from keras_transformer.pretrained.tokenizers.byte_pairs import (
    LLAMA3_WORDS,
    QWEN2_WORDS,
    split_by_pattern,
)

# Types of tokens that are never split: special tokens, and tokens that appear in texts.
_CONTROL, _USER_DEFINED = 3, 4
_KEY = "tokenizer.ggml."
# Names of special tokens in a file and in chat templates.
_NAMED = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}


def _gpt2(package, tokenizer):
    tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)


def _smollm(package, tokenizer):
    """Splits numbers into single digits."""
    kinds = package.pre_tokenizers
    steps = [kinds.Digits(individual_digits=True), kinds.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = kinds.Sequence(steps)


def _llama3(package, tokenizer):
    split_by_pattern(tokenizer, LLAMA3_WORDS)
    # A word that is itself a token is never split.
    tokenizer.model.ignore_merges = True


def _qwen2(package, tokenizer):
    tokenizer.normalizer = package.normalizers.NFC()
    split_by_pattern(tokenizer, QWEN2_WORDS)


# How a text is split into words, by `tokenizer.ggml.pre`.
_WORDS = {
    "gpt-2": _gpt2,
    "smollm": _smollm,
    "llama-bpe": _llama3,
    "llama3": _llama3,
    "llama-v3": _llama3,
    "qwen2": _qwen2,
    "deepseek-r1-qwen": _qwen2,
}


def load_gguf_tokenizer(path: Path) -> HuggingFaceTokenizer:
    """Loads the tokenizer of a GGUF file.

    Args:
        path: The file.

    Returns:
        The tokenizer, with the special ids and the chat template of the file.

    Raises:
        ValueError: If a setting is missing, wrong or not supported; the message names it.
        ImportError: If the `text` extra or the package gguf is not installed.
    """
    file = GGUFFile(path)
    _one_of(file, "model", ("gpt2",))
    words = _WORDS[_one_of(file, "pre", tuple(_WORDS))]
    for name in ("add_space_prefix", "escape_whitespaces"):
        if file.setting(_KEY + name, bool, False):
            raise ValueError(f"`{_KEY}{name}` in {path} must be false. Received: True.")
    tokens = _texts(file, "tokens")
    kinds = file.setting(f"{_KEY}token_type", list, [1] * len(tokens))
    if len(kinds) != len(tokens) or len(set(tokens)) != len(tokens):
        raise ValueError(
            f"`{_KEY}tokens` in {path} must contain one distinct token per item of "
            f"`{_KEY}token_type`. Received: {len(tokens)} tokens, {len(set(tokens))} of them "
            f"distinct, and {len(kinds)} types."
        )
    inner = _byte_pairs(file, tokens)
    words(import_text_package("tokenizers"), inner)
    _add_tokens(inner, tokens, kinds)
    ids = {own: _token_id(file, name, len(tokens)) for name, own in _NAMED.items()}
    return HuggingFaceTokenizer(
        inner.to_str(),
        padding_id=ids["pad"],
        start_id=ids["bos"],
        end_id=ids["eos"],
        unknown_id=ids["unk"],
        chat_template=file.setting("tokenizer.chat_template", str),
        template_tokens={
            f"{name}_token": tokens[token_id]
            for name, token_id in ids.items()
            if token_id is not None
        },
        add_start=file.setting(f"{_KEY}add_bos_token", bool, False),
    )


def _one_of(file, name, known):
    value = file.setting(_KEY + name, str)
    if value not in known:
        raise ValueError(
            f"`{_KEY}{name}` in {file.path} must be one of {sorted(known)}. Received: {value!r}."
        )
    return value


def _texts(file, name):
    values = file.setting(_KEY + name, list)
    if not values or not all(isinstance(value, str) for value in values):
        raise ValueError(
            f"`{_KEY}{name}` in {file.path} must contain texts. Received: {values!r:.80}."
        )
    return values


def _byte_pairs(file, tokens):
    package = import_text_package("tokenizers")
    merges = [tuple(merge.split(" ")) for merge in _texts(file, "merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    for merge in merges:
        if len(merge) != 2 or not {*merge, "".join(merge)} <= vocabulary.keys():
            raise ValueError(
                f"`{_KEY}merges` in {file.path} must contain pairs of tokens that form a token. "
                f"Received: {' '.join(merge)!r}."
            )
    tokenizer = package.Tokenizer(package.models.BPE(vocabulary, merges))
    tokenizer.decoder = package.decoders.ByteLevel()
    return tokenizer


def _add_tokens(tokenizer: Any, tokens: list[str], kinds: list[int]) -> None:
    added = import_text_package("tokenizers").AddedToken
    tokenizer.add_tokens(
        [
            added(token, normalized=False, special=kind == _CONTROL)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )


def _token_id(file, name, num_tokens):
    value = file.setting(f"{_KEY}{name}_token_id", int)
    if value is not None and not 0 <= value < num_tokens:
        raise ValueError(
            f"`{_KEY}{name}_token_id` in {file.path} must be the id of a token, below "
            f"{num_tokens}. Received: {value}."
        )
    return value
