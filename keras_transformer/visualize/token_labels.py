"""Labels of positions: tokens as text, with invisible characters spelled out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check, is_integer
from keras_transformer.visualize.readable_tokens import readable_token

_INVISIBLE = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb]"
)
_NAMES = {"\n": "⏎", "\t": "⇥"}


def visible(token: str) -> str:
    """Returns a token with control characters named, as the web components show it.

    Spaces at the ends become open boxes, and a leading combining mark is put on a dotted circle.
    """
    if not token:
        return "∅"
    text = _INVISIBLE.sub(lambda found: _NAMES.get(found[0], f"U+{ord(found[0]):04X}"), token)
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" ")) if inner else len(text)
    text = "␣" * before + inner + "␣" * (len(text) - before - len(inner))
    return f"◌{text}" if unicodedata.category(text[0]).startswith("M") else text


def token_texts(ids: Sequence[int], tokens: Any, name: str = "tokens") -> list[str]:
    """Returns the text of each id.

    Args:
        ids: One row of ids.
        tokens: The texts themselves, one for each id; a tokenizer with a method `id_to_token`; or
            None for the ids as text.
        name: The argument's name in messages.

    Returns:
        A list of strings.
    """
    if tokens is None:
        return [str(int(one)) for one in ids]
    if hasattr(tokens, "id_to_token"):
        return [readable_token(tokens, int(one)) for one in ids]
    is_list = isinstance(tokens, (list, tuple)) and all(isinstance(one, str) for one in tokens)
    check(is_list, "be a list of strings or have a method `id_to_token`", name, tokens)
    check(len(tokens) == len(ids), f"have {len(ids)} entries, one for each id", name, tokens)
    return list(tokens)


def hidden_positions(hide: Sequence[int | str], labels: Sequence[str]) -> list[int]:
    """Returns the positions to hide, given as integers (from the end if negative) or tokens."""
    found: set[int] = set()
    for one in hide:
        if isinstance(one, str):
            places = [index for index, label in enumerate(labels) if label == one]
        else:
            in_range = is_integer(one) and -len(labels) <= one < len(labels)
            ends = f"{-len(labels)} to {len(labels) - 1}"
            check(in_range, f"contain tokens, or positions from {ends}", "hide", one)
            places = [one % len(labels)]
        found |= set(places)
    check(len(found) < len(labels), "leave a position visible", "hide", list(hide))
    return sorted(found)


def without_positions(weights: np.ndarray, hidden: Sequence[int]) -> np.ndarray:
    """Returns weights (..., S) without some of the positions, renormalized to sums of 1.

    Queries that attend to nothing else get zeros.
    """
    kept = np.delete(weights, list(hidden), axis=-1)
    totals = kept.sum(axis=-1, keepdims=True)
    return np.divide(kept, totals, where=totals > 0, out=np.zeros_like(kept))
