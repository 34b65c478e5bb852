"""Tensors as text, for pages: a shape, a dtype and little-endian numbers in base64.

The web component `tensor.js` reads them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

_STEPS = 65535


def encode_tensor(array: Any, shares: bool = False) -> dict[str, Any]:
    """Encodes an array as a JSON-serializable dict.

    Args:
        array: Numbers of any shape; minus infinity is kept.
        shares: Whether all numbers are in [0, 1], as attention weights are: they are then stored in
            two bytes each, rounded to multiples of 1 / 65535.

    Returns:
        A dict of `shape`, `dtype` ("float32" or "uint16") and `data`.
    """
    array = np.asarray(array, "float32")
    numbers = array.astype("<f4")
    if shares:
        numbers = np.round(np.clip(array, 0.0, 1.0) * _STEPS).astype("<u2")
    return {
        "shape": list(array.shape),
        "dtype": "uint16" if shares else "float32",
        "data": base64.b64encode(numbers.tobytes()).decode("ascii"),
    }


def encode_data(data: Any) -> Any:
    """Encodes the arrays of nested dicts and lists; those with values in [0, 1] take two bytes."""
    if isinstance(data, dict):
        return {str(key): encode_data(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [encode_data(value) for value in data]
    if isinstance(data, np.ndarray) and data.ndim:
        is_share = data.size > 0 and bool(np.all((data >= 0.0) & (data <= 1.0)))
        return encode_tensor(data, is_share)
    return data.item() if isinstance(data, (np.generic, np.ndarray)) else data


def embeddable_json(data: Any) -> str:
    """Returns JSON that is safe inside a page's script element: it contains no markup.

    Escapes `<`, `>`, `&` and all non-ASCII characters, including U+2028 and lone surrogates.
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
