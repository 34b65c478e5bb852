"""Length buckets: a few static shapes that fit all sentence pairs with little padding.

XLA compiles a program for every shape, so a training set must have few of them; padding costs
time, so they must fit the sentences closely. Shape letters: P pairs, C cells, R rectangles.
"""

import itertools
from typing import NamedTuple

import numpy as np


class Bucket(NamedTuple):
    """The pairs that share a shape.

    Attributes:
        batch_size: Rows per batch.
        source_width: Tokens per source row.
        target_width: Tokens per target row.
        rows: Indices of the pairs in this bucket.
    """

    batch_size: int
    source_width: int
    target_width: int
    rows: np.ndarray


def round_up(lengths: np.ndarray) -> np.ndarray:
    """Rounds lengths up to a grid that is finer for shorter sentences.

    Lengths up to 16 are kept, those up to 32 become multiples of 2, those up to 64 multiples of
    4, and so on: less than an eighth is added. No result exceeds the longest length, which may be
    the model's limit.

    Args:
        lengths: Positive integers of shape (P,).

    Returns:
        Integers of shape (P,).

    Example:
        >>> import numpy as np
        >>> from keras_transformer.data.batches.buckets import round_up
        >>> round_up(np.array([1, 5, 17, 33, 64])).tolist()
        [1, 5, 18, 36, 64]
    """
    step = 2 ** np.maximum(np.ceil(np.log2(lengths)).astype("int64") - 4, 0)
    return np.minimum(-(-lengths // step) * step, lengths.max())


def _choose_rectangles(
    cells: np.ndarray, counts: np.ndarray, tokens_per_step: int, max_shapes: int
) -> np.ndarray:
    """Assigns each cell to a rectangle that contains it, with few rectangles and little padding.

    Starts with one rectangle per cell plus one that contains everything. Then greedily removes
    the rectangle whose cells need the least extra padding in their next best one, until at most
    `max_shapes` are left and each fills a batch of every shard.

    Args:
        cells: Integers of shape (C, 2), the distinct (source width, target width).
        counts: Integers of shape (C,), the number of pairs in each cell.
        tokens_per_step: Maximum number of tokens on either side, over all shards' batches.
        max_shapes: Maximum number of rectangles.

    Returns:
        Integers of shape (C,): the rectangle index of each cell.
    """
    rectangles = np.concatenate([cells, cells.max(axis=0, keepdims=True)])
    last = len(cells)  # the rectangle that contains everything, never removed
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
        # Only cells that had it among their two best need an update.
        stale = (two_best == removed).any(axis=1)
        two_best[stale] = np.argsort(costs[stale], axis=1, kind="stable")[:, :2]


def make_buckets(
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    tokens_per_batch: int,
    max_shapes: int,
    num_shards: int = 1,
) -> list[Bucket]:
    """Groups pairs into buckets, each with one static shape.

    A batch has at most `tokens_per_batch // max(source_width, target_width)` rows; the pairs are
    spread evenly over the fewest possible batches.

    Args:
        source_lengths: Positive integers of shape (P,).
        target_lengths: Positive integers of shape (P,).
        tokens_per_batch: Maximum number of tokens per batch on either side, padding included; at
            least the longest length.
        max_shapes: Maximum number of buckets.
        num_shards: Batches per step, all of the same shape.

    Returns:
        The buckets, narrowest first; each pair is in exactly one.

    Example:
        >>> import numpy as np
        >>> from keras_transformer.data.batches.buckets import make_buckets
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
        # Spread evenly, so that the last batch is not mostly padding.
        batch_size = -(-len(rows) // num_batches)
        buckets.append(Bucket(batch_size, source_width, target_width, rows))
    return sorted(buckets, key=lambda bucket: bucket[1:3])


def most_different(buckets: list[Bucket]) -> tuple[int, ...]:
    """Finds two buckets that differ in every width that varies across buckets.

    Args:
        buckets: Buckets of distinct shapes.

    Returns:
        The indices of the two, or () if there is only one bucket.
    """
    widths = np.array([(bucket.source_width, bucket.target_width) for bucket in buckets])
    varies = (widths != widths[0]).any(axis=0)
    # If both widths vary, such a pair exists: given two buckets with different source widths and
    # a third with another target width, the third differs in both widths from one of the two.
    for pair in itertools.combinations(range(len(widths)), 2):
        if ((widths[pair[0]] != widths[pair[1]]) | ~varies).all():
            return pair
    return ()
