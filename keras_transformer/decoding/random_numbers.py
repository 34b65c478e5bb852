"""The random numbers of sampling, drawn while a generation grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# The largest number that stays below 1 in a product with a sum of probabilities in float32.
_LARGEST = 1.0 - 2.0**-23


class RandomNumbers:
    """Random numbers of the rows of a generation, one per step.

    A row's numbers depend only on the seed and the row's index. They are drawn when they are first
    needed, since the maximum number of steps may be far larger than the number that a text takes.

    Args:
        seed: A non-negative integer; None for a new one.
        rows: The index of each of the R rows.
    """

    def __init__(self, seed: int | None, rows: Sequence[int]):
        entropy: Any = np.random.SeedSequence().entropy if seed is None else seed
        self._generators = [np.random.default_rng([entropy, row]) for row in rows]
        self._drawn = np.zeros((len(rows), 0), "float32")

    def first(self, num_steps: int) -> np.ndarray:
        """Returns float32 (R, num_steps) in [0, 1 - 2^-23], the numbers of the first steps."""
        missing = num_steps - self._drawn.shape[1]
        if missing > 0:
            new = np.stack([generator.random(missing) for generator in self._generators])
            new = np.minimum(new, _LARGEST).astype("float32")
            self._drawn = np.concatenate([self._drawn, new], axis=1)
        return self._drawn[:, :num_steps]
