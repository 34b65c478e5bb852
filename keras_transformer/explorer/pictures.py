"""Pictures for vision models: examples, and those that the page sends."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_transformer.checks import check
from keras_transformer.explorer.opened_model import OpenedModel

_SHAPES = ("disk", "ring", "cross", "stripes", "gradient")
_NUM_DIGITS = 10


def picture_shape(opened: OpenedModel) -> dict[str, Any] | None:
    """Returns the size of a model's pictures and patches; None if it reads none."""
    if opened.kind != "vision":
        return None
    height, width, channels = opened.model.inputs[0].shape[1:]
    rows, columns = opened.layers["patch_embedding"].output.shape[1:3]
    return {"height": height, "width": width, "channels": channels, "patches": [rows, columns]}


def picture_names(opened: OpenedModel) -> list[str]:
    """Returns the names of the pictures that come with the explorer."""
    return [*[f"digit {index}" for index in range(len(_digits(opened)))], *_SHAPES]


def example_picture(opened: OpenedModel, index: int) -> np.ndarray:
    """Returns a picture that comes with the explorer, (height, width, channels) in [0, 1]."""
    shape: Any = picture_shape(opened)
    digits = _digits(opened)
    if index < len(digits):
        gray = digits[index]
    else:
        gray = _draw(_SHAPES[index - len(digits)], shape["height"], shape["width"])
    return np.repeat(gray[:, :, None], shape["channels"], axis=2).astype("float32")


def given_picture(opened: OpenedModel, pixels: Any) -> np.ndarray:
    """Returns a picture that the page sent, after checking it."""
    shape: Any = picture_shape(opened)
    size = (shape["height"], shape["width"], shape["channels"])
    must = f"be numbers in [0, 1] of shape {size[:2]} or {size}"
    try:
        picture = np.asarray(pixels, "float32")
    except (TypeError, ValueError):
        raise ValueError(f"`pixels` must {must}. Received: something else.") from None
    if picture.shape == size[:2]:
        picture = np.repeat(picture[:, :, None], size[2], axis=2)
    check(picture.shape == size, must, "pixels.shape", picture.shape)
    inside = bool(np.isfinite(picture).all() and (picture >= 0).all() and (picture <= 1).all())
    check(inside, must, "pixels", "numbers outside")
    return picture


def _digits(opened):
    """Scikit-learn's handwritten digits, one of each, for a model of their size."""
    if tuple(opened.model.inputs[0].shape[1:]) != (8, 8, 1):
        return []
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return []
    digits = load_digits()
    firsts = [int(np.argmax(digits.target == number)) for number in range(_NUM_DIGITS)]
    return [digits.images[first] / 16.0 for first in firsts]


def _draw(name, height, width):
    """A white shape on black, (height, width)."""
    y, x = np.mgrid[:height, :width]
    y, x = (y + 0.5) / height * 2 - 1, (x + 0.5) / width * 2 - 1
    radius = np.hypot(x, y)
    drawn = {
        "disk": radius < 0.6,
        "ring": (0.4 < radius) & (radius < 0.8),
        "cross": (abs(x) < 0.2) | (abs(y) < 0.2),
        "stripes": np.sin(4 * np.pi * x) > 0,
        "gradient": (x + 1) / 2,
    }
    return drawn[name].astype("float32")
