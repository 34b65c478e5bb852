"""Checks of the ids in vocabulary files, before a library allocates a table for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from keras_transformer.checks import is_integer, shortened
from keras_transformer.files import parse_json


def check_ids(vocabulary: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Checks that a vocabulary maps tokens to ids of about its own size.

    With an id of 2^31, the package tokenizers may run out of memory, which aborts the process.

    Args:
        vocabulary: The content of a vocab.json, or of the vocabulary in a tokenizer.json.
        path: The file that it was read from, for messages.

    Raises:
        ValueError: If an id is not an integer, is negative, or is much larger than the number of
            tokens; the message names the file.
    """
    limit = _limit(len(vocabulary))
    for token, token_id in vocabulary.items():
        if not is_integer(token_id) or not 0 <= token_id < limit:
            raise ValueError(
                f"`{path}` must map tokens to ids, integers in [0, {limit}). "
                f"Received: {shortened(token)}: {shortened(token_id)}."
            )


def _limit(num_tokens: int) -> int:
    # Vocabularies may have gaps, whether or not other files fill them.
    return 2 * num_tokens + 2**12


def check_tokenizer_json(content: str, path: str | os.PathLike) -> None:
    """Checks a tokenizer.json by the rules of `parse_json`, and its ids as `check_ids` does.

    Args:
        content: The text of the file.
        path: The file that it was read from, for messages.

    Raises:
        ValueError: If it breaks a rule; the message names the file.
    """
    parsed = parse_json(content, path)
    model, added = parsed.get("model"), parsed.get("added_tokens") or []
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        check_ids(vocabulary, path)
    size = len(vocabulary) if isinstance(vocabulary, (dict, list)) else 0
    if not isinstance(added, list):
        raise ValueError(f"`added_tokens` in {path} must be a list. Received: {shortened(added)}.")
    _check_added([one.get("id") for one in added if isinstance(one, dict)], size, path)


def _check_added(ids: Iterable[Any], size: int, path: str | os.PathLike) -> None:
    ids = list(ids)
    limit = _limit(size + len(ids))
    for token_id in ids:
        if not is_integer(token_id) or not 0 <= token_id < limit:
            raise ValueError(
                f"`added_tokens` in {path} must have ids in [0, {limit}). "
                f"Received: {shortened(token_id)}."
            )
