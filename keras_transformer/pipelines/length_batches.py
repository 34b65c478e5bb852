"""Batching of rows of different lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras


def in_batches(
    rows: Sequence[Any],
    batch_size: int,
    verbose: int,
    run: Callable[[list[Any]], Sequence[Any]],
    length: Callable[[Any], int] = len,
    unit_name: str = "sentence",
) -> list[Any]:
    """Runs a function over batches of rows of similar length.

    Args:
        rows: N rows, such as lists of ids.
        batch_size: Number of rows per batch.
        verbose: 1 shows a progress bar.
        run: Maps a batch to one result per row. The last row of a batch may be repeated, so that
            the number of rows is a power of two.
        length: Returns the length of a row.
        unit_name: What the progress bar calls a row.

    Returns:
        N results, in the order of `rows`.
    """
    order = sorted(range(len(rows)), key=lambda index: length(rows[index]))
    results: list[Any] = [None] * len(rows)
    progress = keras.utils.Progbar(len(rows), verbose=verbose, unit_name=unit_name)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        # Pad to a power of two rows, so that batches reuse compiled functions.
        batch = [rows[index] for index in chosen]
        batch += [batch[-1]] * ((1 << (len(batch) - 1).bit_length()) - len(batch))
        for index, result in zip(chosen, run(batch)[: len(chosen)], strict=True):
            results[index] = result
        progress.add(len(chosen))
    return results
