"""Tensors and answers as JSON.

Numbers that JSON lacks (infinities, NaN) are null; tensors are base64, which holds every number.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np


def tensor(array: Any) -> dict[str, Any]:
    """Returns an array as float32 in base64.

    Args:
        array: An array of numbers, of any shape.

    Returns:
        A dict of `shape`, `dtype` and `data`, little-endian.

    Example:
        >>> from keras_transformer.explorer.answer_json import tensor
        >>> tensor([1.0, 2.0])
        {'shape': [2], 'dtype': 'float32', 'data': 'AACAPwAAAEA='}
    """
    return _encoded(np.asarray(array), "float32", "<f4")


def shares(array: Any) -> dict[str, Any]:
    """Returns an array of numbers from 0 to 1 as fixed point of 16 bits, half the size of float32.

    Args:
        array: An array of numbers, of any shape; 1 becomes 65535.

    Returns:
        A dict of `shape`, `dtype` and `data`, little-endian.

    Example:
        >>> from keras_transformer.explorer.answer_json import shares
        >>> shares([0.0, 1.0])
        {'shape': [2], 'dtype': 'uint16', 'data': 'AAD//w=='}
    """
    values = np.clip(np.asarray(array, "float32"), 0.0, 1.0)
    return _encoded(np.rint(values * 65535.0), "uint16", "<u2")


def _encoded(array, dtype, stored):
    data = base64.b64encode(np.ascontiguousarray(array, stored).tobytes()).decode("ascii")
    return {"shape": list(array.shape), "dtype": dtype, "data": data}


def to_json(answer: Any) -> bytes:
    """Returns an answer as JSON in UTF-8.

    Args:
        answer: A nest of dicts, lists and plain values; NumPy's numbers and arrays are allowed.

    Returns:
        The JSON text, without line ends.

    Example:
        >>> from keras_transformer.explorer.answer_json import to_json
        >>> to_json({"score": float("-inf"), "text": "</script>"})
        b'{"score":null,"text":"</script>"}'
    """
    text = json.dumps(_plain(answer), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate, which a text typed by a person can hold, is no UTF-8.
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
