"""Tokenizers of the Llama type: byte-level BPE on words found by a pattern, or a tokenizer.json."""

from __future__ import annotations

from typing import Any

from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.pretrained.tokenizers.special_tokens import TokenFiles
from keras_transformer.pretrained.tokenizers.tokenizers_from_files import KINDS, Kind, byte_pairs

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Llama 3 splits numbers into groups of up to three digits, Qwen2 into single digits.
LLAMA3_WORDS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
QWEN2_WORDS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"


def split_by_pattern(tokenizer: Any, words: str, add_prefix_space: bool = False) -> None:
    """Makes a byte-level tokenizer split texts into the words that match a pattern.

    Args:
        tokenizer: A `tokenizers.Tokenizer`.
        words: The pattern.
        add_prefix_space: Whether to add a space to the beginning of a text.
    """
    package = import_text_package("tokenizers")
    kinds = package.pre_tokenizers
    steps = [
        kinds.Split(package.Regex(words), behavior="isolated"),
        kinds.ByteLevel(add_prefix_space=add_prefix_space, use_regex=False),
    ]
    tokenizer.pre_tokenizer = kinds.Sequence(steps)
    tokenizer.decoder = package.decoders.ByteLevel()


def _qwen2(files: TokenFiles) -> Any:
    result = byte_pairs(files)
    _dress_qwen2(files, result)
    return result


def _dress_qwen2(files: TokenFiles, tokenizer: Any) -> None:
    tokenizer.normalizer = import_text_package("tokenizers").normalizers.NFC()
    split_by_pattern(tokenizer, QWEN2_WORDS, bool(files.flag("add_prefix_space", False)))


QWEN2 = Kind(
    "Qwen2Tokenizer",
    dict.fromkeys(("eos", "unk", "pad"), "<|endoftext|>"),
    ("vocab.json", "merges.txt"),
    _qwen2,
    KINDS["gpt2"].model,
    _dress_qwen2,
    KINDS["gpt2"].said,
    as_is=True,
)
# Without a tokenizer.json, only a SentencePiece model is read.
LLAMA = KINDS["gpt2"]._replace(
    class_name="LlamaTokenizer", defaults={}, files=("tokenizer.json",), as_is=True
)
