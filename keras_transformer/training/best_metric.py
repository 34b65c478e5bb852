"""Whether a metric has improved."""

from __future__ import annotations

import math

from keras_transformer.checks import check_choice

_SMALL = ("loss", "error", "perplexity", "mse", "mae", "divergence", "ter")
_LARGE = ("accuracy", "acc", "bleu", "chrf", "auc", "precision", "recall", "f1", "score")


def check_monitor(monitor: str | None, mode: str) -> str:
    """Decides whether small or large values of a metric are better.

    Args:
        monitor: Name of the metric, or None.
        mode: "min", "max", or "auto" to decide by the name.

    Returns:
        "min" or "max".

    Raises:
        ValueError: if `mode` is unknown, or is "auto" and the name does not tell which is better.
    """
    check_choice(("auto", "min", "max"), mode=mode)
    if mode != "auto" or monitor is None:
        return "min" if mode == "auto" else mode
    words = str(monitor).split("_")
    if any(word in _SMALL for word in words):
        return "min"
    if any(word in _LARGE for word in words):
        return "max"
    raise ValueError(
        f'`mode` must be "min" or "max" for this `monitor`. Received: mode="auto", '
        f"monitor={monitor!r}."
    )


def is_better(value: float, best: float | None, mode: str) -> bool:
    """Whether a value is finite and better than the best so far.

    Args:
        value: The value.
        best: The best value so far; None if there is none.
        mode: "min" or "max".
    """
    if not math.isfinite(value):
        return False
    return best is None or (value < best if mode == "min" else value > best)
