"""The tokenizer inside a GGUF file: byte-level BPE, or SentencePiece's BPE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.text_packages import import_text_package, sentencepiece_proto
from keras_transformer.pretrained.gguf_file import GGUFFile
from keras_transformer.pretrained.tokenizers.byte_pairs import (
    LLAMA3_WORDS,
    QWEN2_WORDS,
    split_by_pattern,
)
from keras_transformer.pretrained.tokenizers.sentencepiece_pieces import tokenizer_from_pieces

# Types of tokens. Special tokens and tokens that appear in texts are never split.
_UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 2, 3, 4, 5, 6
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
    make = {"gpt2": _byte_level, "llama": _sentencepiece}[_one_of(file, "model", ("gpt2", "llama"))]
    tokens = _texts(file, "tokens")
    kinds = file.setting(f"{_KEY}token_type", list, [1] * len(tokens))
    if len(kinds) != len(tokens) or len(set(tokens)) != len(tokens):
        raise ValueError(
            f"`{_KEY}tokens` in {path} must contain one distinct token per item of "
            f"`{_KEY}token_type`. Received: {len(tokens)} tokens, {len(set(tokens))} of them "
            f"distinct, and {len(kinds)} types."
        )
    inner = make(file, tokens, kinds)
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


def _byte_level(file, tokens, kinds):
    """Returns the tokenizer of GPT-2 and of later Llamas."""
    words = _WORDS[_one_of(file, "pre", tuple(_WORDS))]
    for name in ("add_space_prefix", "escape_whitespaces"):
        if file.setting(_KEY + name, bool, False):
            raise ValueError(f"`{_KEY}{name}` in {file.path} must be false. Received: True.")
    inner = _byte_pairs(file, tokens)
    words(import_text_package("tokenizers"), inner)
    return inner


def _sentencepiece(file, tokens, kinds):
    """Returns the tokenizer of Llama 2 and TinyLlama: SentencePiece's BPE, with bytes."""
    for name in ("remove_extra_whitespaces", "precompiled_charsmap"):
        if file.setting(_KEY + name, object, False):
            raise ValueError(f"`{_KEY}{name}` in {file.path} must be absent or false.")
    scores = file.setting(f"{_KEY}scores", list, [])
    if len(scores) != len(tokens) or not all(isinstance(score, float) for score in scores):
        raise ValueError(
            f"`{_KEY}scores` in {file.path} must contain one number per token. "
            f"Received: {len(scores)} scores for {len(tokens)} tokens."
        )
    proto = sentencepiece_proto()
    # The types of tokens are those of SentencePiece.
    if not set(kinds) <= set(proto.SentencePiece.Type.values()):
        raise ValueError(
            f"`{_KEY}token_type` in {file.path} must contain types of SentencePiece. "
            f"Received: {sorted(set(kinds))}."
        )
    for token, score, kind in zip(tokens, scores, kinds, strict=True):
        # Tokens that appear in texts are added later, as in the other tokenizers.
        kind = _UNUSED if kind == _USER_DEFINED else kind
        proto.pieces.add(piece=token, score=score, type=kind)
    if kinds.count(_UNKNOWN) != 1:
        raise ValueError(
            f"`{_KEY}token_type` in {file.path} must mark one token as unknown, with "
            f"{_UNKNOWN}. Received: {kinds.count(_UNKNOWN)} such tokens."
        )
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    proto.trainer_spec.unk_id = kinds.index(_UNKNOWN)
    proto.trainer_spec.byte_fallback = _BYTE in kinds
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.add_dummy_prefix = file.setting(f"{_KEY}add_space_prefix", bool, True)
    return tokenizer_from_pieces(proto)


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
