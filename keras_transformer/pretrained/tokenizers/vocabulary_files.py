"""Vocabularies of folders with the ids of the SentencePiece pieces in a separate file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from keras_transformer.checks import shortened
from keras_transformer.files import file_in, is_listed, read_bytes
from keras_transformer.pretrained.tokenizers.special_tokens import TokenFiles


def read_proto(path: Path) -> bytes:
    """Returns the content of a SentencePiece model file; raises a ValueError if it is missing."""
    if not is_listed(path):
        raise ValueError(f"`folder` must contain the file {path.name}. Received: no {path}.")
    return read_bytes(file_in(path.parent, path.name))


def larger_size(size: Any, num_tokens: int) -> int | None:
    """Returns the size of the model's vocabulary if it exceeds the tokenizer's, otherwise None."""
    return size if isinstance(size, int) and size > num_tokens else None


def check_plain_settings(files: TokenFiles) -> None:
    """Raises a ValueError for settings that would change the pieces of a text."""
    for name in ("do_lower_case", "split_special_tokens", "sp_model_kwargs"):
        if files.settings.get(name):
            raise ValueError(
                f"`{name}` in {files.path} must be false or missing. "
                f"Received: {shortened(files.settings[name])}."
            )


def with_special_tokens(
    vocabulary: dict[str, int], tokens: Iterable[Any], path: Path
) -> dict[str, int]:
    """Returns the vocabulary with the special tokens that other files in the folder add."""
    vocabulary = dict(vocabulary)
    for token in tokens:
        stripped = any(token.flags.get(flag) for flag in ("lstrip", "rstrip", "single_word"))
        if stripped or not token.is_special:
            raise ValueError(
                f"The added tokens of {path.parent} must be special and must not strip spaces. "
                f"Received: {shortened(token.content)}."
            )
        if token.content not in vocabulary and token.token_id is not None:
            vocabulary[token.content] = token.token_id
        if token.content not in vocabulary:
            raise ValueError(
                f"`{path}` must contain {shortened(token.content)}. Received: no such token."
            )
    return vocabulary
