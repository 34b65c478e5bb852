"""Target prefixes: the texts with which translations start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.data.tokenizers.text_checks import check_text, check_texts


def encode_target_prefixes(
    tokenizer: Any, target_prefix: str | Sequence[str] | None, num_texts: int
) -> list[list[int]]:
    """Converts the texts with which translations start to ids.

    Args:
        tokenizer: The target tokenizer.
        target_prefix: One text for all translations or one for each; None or "" for none.
        num_texts: Number of translations.

    Returns:
        A row of ids for each translation.

    Raises:
        ValueError: If there is not one text per translation, or one is not a string or has a token
            that is unknown or special.
    """
    if target_prefix is None:
        return [[] for _ in range(num_texts)]
    is_one = isinstance(target_prefix, str)
    if isinstance(target_prefix, str):
        texts = [check_text(target_prefix, "target_prefix")]
    else:
        texts = _texts(target_prefix, num_texts)
    rows = encode(tokenizer, texts)
    hidden = {*special_ids(tokenizer), *getattr(tokenizer, "languages", {}).values()}
    for index, (text, row) in enumerate(zip(texts, rows, strict=True)):
        if hidden.intersection(row):
            name = "target_prefix" if is_one else f"target_prefix[{index}]"
            raise ValueError(
                "`target_prefix` must not contain characters that the target tokenizer lacks, or "
                f"special tokens. Received: {name}={text!r}."
            )
    return rows * num_texts if is_one else rows


def _texts(target_prefix: Any, num_texts: int) -> list[str]:
    listed = isinstance(target_prefix, Sequence)
    if not listed or not all(isinstance(text, str) for text in target_prefix):
        raise ValueError(
            "`target_prefix` must be a string, or a list with one string per text. "
            f"Received: target_prefix={target_prefix!r}."
        )
    check_texts(target_prefix, "target_prefix")
    if len(target_prefix) != num_texts:
        raise ValueError(
            "`target_prefix` must be one string, or one per text. "
            f"Received: {len(target_prefix)} strings for {num_texts} texts."
        )
    return list(target_prefix)
