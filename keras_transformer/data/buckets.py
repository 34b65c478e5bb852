"""Buckets of similar lengths: few rectangles that hold all sentence pairs with little padding.

XLA compiles a program for every shape, so a training set must have few shapes; and padding costs
time, so the shapes must be close to the sentences. Letters: P pairs, C cells, R rectangles.
"""

import itertools
from typing import NamedTuple

import numpy as np


class Bucket(NamedTuple):
    """The pairs that share a shape.

    Attributes:
        batch_size: Rows of each batch.
        source_width: Tokens of each source row.
        target_width: Tokens of each target row.
        rows: Integers, the indices of the pairs in this bucket.
    """

    batch_size: int
    source_width: int
    target_width: int
    rows: np.ndarray


def round_up(lengths: np.ndarray) -> np.ndarray:
    """Rounds lengths up to a grid that is finer where sentences are shorter.

    Lengths up to 16 stay, then up to 32 to a multiple of 2, up to 64 of 4, and so on: less than
    an eighth is added. Nothing exceeds the longest length, because a model may not take more.

    Args:
        lengths: Positive integers of shape (P,).

    Returns:
        Integers of shape (P,).

    Example:
        >>> import numpy as np
        >>> from keras_transformer.data.buckets import round_up
        >>> round_up(np.array([1, 5, 17, 33, 64])).tolist()
        [1, 5, 18, 36, 64]
    """
    step = 2 ** np.maximum(np.ceil(np.log2(lengths)).astype("int64") - 4, 0)
    return np.minimum(-(-lengths // step) * step, lengths.max())


def _choose_rectangles(
    cells: np.ndarray, counts: np.ndarray, tokens_per_step: int, max_shapes: int
) -> np.ndarray:
    """Assigns each cell to a rectangle that holds it, with few rectangles and little padding.

    Begins with one rectangle a cell, and the one that holds everything. Then, one at a time, the
    rectangle goes whose cells cost the least padding in the next best one, until no more than
    `max_shapes` are left and each fills a batch of every shard.

    Args:
        cells: Integers of shape (C, 2), the distinct (source width, target width).
        counts: Integers of shape (C,), the pairs of each cell.
        tokens_per_step: Most tokens, on either side, of the batches of all shards together.
        max_shapes: Most rectangles.

    Returns:
        Integers of shape (C,): for each cell the index of its rectangle.
    """
    rectangles = np.concatenate([cells, cells.max(axis=0, keepdims=True)])
    last = len(cells)  # the rectangle that holds everything, never removed
    holds = (rectangles[None] >= cells[:, None]).all(axis=-1)  # (C, R)
    costs = np.where(holds, counts[:, None] * rectangles.sum(axis=1), np.inf)
    batch_sizes = np.maximum(1, tokens_per_step // rectangles.max(axis=1))
    two_best = np.argsort(costs, axis=1, kind="stable")[:, :2]
    every = np.arange(len(cells))
    while True:
        best, second = two_best.T
        held = np.bincount(best, weights=counts, minlength=last + 1)
        removable = (held > 0) & (np.count_nonzero(held) > max_shapes)
        removable |= (held > 0) & (held < batch_sizes)
        removable[last] = False
        if not removable.any():
            return best
        losses = np.bincount(best, costs[every, second] - costs[every, best], last + 1)
        removed = int(np.where(removable, losses, np.inf).argmin())
        costs[:, removed] = np.inf
        # Only the cells that had it among their two best need another look.
        stale = (two_best == removed).any(axis=1)
        two_best[stale] = np.argsort(costs[stale], axis=1, kind="stable")[:, :2]


def make_buckets(
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    tokens_per_batch: int,
    max_shapes: int,
    num_shards: int = 1,
) -> list[Bucket]:
    """Sorts pairs into buckets, each with one static shape.

    A batch has up to `tokens_per_batch // max(source_width, target_width)` rows: as many as spread
    the pairs evenly over the fewest batches.

    Args:
        source_lengths: Positive integers of shape (P,).
        target_lengths: Positive integers of shape (P,).
        tokens_per_batch: Most tokens of a batch on either side, padding included; no less than
            the longest length.
        max_shapes: Most buckets.
        num_shards: As many batches at a time share a shape.

    Returns:
        The buckets, narrow ones first; each pair is in one of them.

    Example:
        >>> import numpy as np
        >>> from keras_transformer.data.buckets import make_buckets
        >>> lengths = np.array([3, 4, 9, 10])
        >>> buckets = make_buckets(lengths, lengths, tokens_per_batch=20, max_shapes=2)
        >>> sum(len(bucket.rows) for bucket in buckets)
        4
    """
    widths = np.stack([round_up(source_lengths), round_up(target_lengths)], axis=1)  # (P, 2)
    cells, cell_of_pair, counts = np.unique(widths, axis=0, return_inverse=True, return_counts=True)
    # Some versions of NumPy give the inverse an extra axis.
    cell_of_pair = cell_of_pair.reshape(-1)
    rectangle_of_cell = _choose_rectangles(cells, counts, tokens_per_batch * num_shards, max_shapes)
    buckets = []
    for rectangle in np.unique(rectangle_of_cell):
        members = rectangle_of_cell == rectangle
        source_width, target_width = map(int, cells[members].max(axis=0))
        rows = np.flatnonzero(members[cell_of_pair])
        step_size = num_shards * (tokens_per_batch // max(source_width, target_width))
        num_batches = num_shards * -(-len(rows) // step_size)
        # Spread evenly, so that the last batch is not left with few pairs and much padding.
        batch_size = -(-len(rows) // num_batches)
        buckets.append(Bucket(batch_size, source_width, target_width, rows))
    return sorted(buckets, key=lambda bucket: bucket[1:3])


def most_different(buckets: list[Bucket]) -> tuple[int, ...]:
    """Finds two buckets that differ in every width that varies among all buckets.

    Args:
        buckets: The buckets, each of another shape.

    Returns:
        Two indices, or none if there is one bucket.
    """
    widths = np.array([(bucket.source_width, bucket.target_width) for bucket in buckets])
    varies = (widths != widths[0]).any(axis=0)
    # Where both widths vary there is such a pair: of two buckets with different source widths
    # and a third with another target width, the third differs in both from one of the two.
    for pair in itertools.combinations(range(len(widths)), 2):
        if ((widths[pair[0]] != widths[pair[1]]) | ~varies).all():
            return pair
    return ()
