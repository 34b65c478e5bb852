"""Answers as JSON. Numbers that JSON lacks (infinities, NaN) become null."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


def to_json(answer: Any) -> bytes:
    """Returns an answer as JSON in UTF-8.

    Args:
        answer: A nest of dicts, lists and plain values; NumPy's numbers and arrays are allowed.

    Returns:
        The JSON text, without line breaks.

    Example:
        >>> from keras_transformer.explorer.answer_json import to_json
        >>> to_json({"score": float("-inf"), "text": "</script>"})
        b'{"score":null,"text":"</script>"}'
    """
    text = json.dumps(_plain(answer), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate, which typed text can contain, is not valid UTF-8.
    return text.encode("utf-8", "replace")


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
