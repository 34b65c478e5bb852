"""Many rows of different lengths, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras


def in_batches(
    rows: Sequence[Sequence[int]],
    batch_size: int,
    verbose: int,
    run: Callable[[list[Sequence[int]]], Sequence[Any]],
) -> list[Any]:
    """Runs a function over batches of rows of like length, and hands back in the order given.

    Args:
        rows: N lists of ids.
        batch_size: rows that go together.
        verbose: 1 shows a progress bar.
        run: from a batch to the result of each of its rows.

    Returns:
        N results.
    """
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    results: list[Any] = [None] * len(rows)
    progress = keras.utils.Progbar(len(rows), verbose=verbose, unit_name="sentence")
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        # A power of two of rows: what was compiled for one batch serves the next.
        batch = [rows[index] for index in chosen]
        batch += [batch[-1]] * ((1 << (len(batch) - 1).bit_length()) - len(batch))
        for index, result in zip(chosen, run(batch)[: len(chosen)], strict=True):
            results[index] = result
        progress.add(len(chosen))
    return results
