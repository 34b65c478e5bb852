"""The check that the logits of a decoding run were finite."""

from __future__ import annotations

import numpy as np


def check_finite(is_broken: np.ndarray, rows_per_input: int = 1) -> None:
    """Raises a ValueError if the model gave logits with NaN or infinity.

    Args:
        is_broken: Boolean (R,), True for rows with such logits.
        rows_per_input: Number of rows of each input.

    Raises:
        ValueError: If there are such rows; the message names the first input.
    """
    if is_broken.any():
        index = int(is_broken.argmax()) // rows_per_input
        raise ValueError(
            "`model` must give finite logits. Received: NaN or infinity for the input at index "
            f"{index}: its weights are not finite, or its `dtype` has too small a range."
        )
