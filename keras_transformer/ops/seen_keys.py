"""The keys that each block of queries sees, so that no other scores are computed.

Shape letters: B batch, S key length, K key/value heads, H head size, R queries per block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from keras import ops

from keras_transformer.ops.block_loop import repeat_blocks
from keras_transformer.ops.indices import same_type
from keras_transformer.ops.masks import causal_mask, window_mask

Tensor = Any

# Number of parts of a causal pass, each of which reads the keys only up to its last query.
_CAUSAL_PARTS = 4


class Places(NamedTuple):
    """Limits, by position, on the keys that a query may see.

    Attributes:
        block: R.
        causal: Whether query `i` sees only keys up to `i`.
        window: Query `i` sees only keys at distances below `window`; None for no limit.
    """

    block: int
    causal: bool
    window: int | None


class SeenKeys(NamedTuple):
    """The keys that a block computes scores for: `length` keys starting at `start`."""

    start: Tensor | int
    length: Tensor | int


def for_each_block(places: Places, rows: Any, keys: Any, body: Callable, state: tuple) -> tuple:
    """Calls `state = body(index, seen, state)` for all blocks of queries.

    Args:
        places: Block size, causality and window.
        rows: Number of queries, a multiple of the block size.
        keys: S.
        body: Takes the index of the block, its `SeenKeys` and the state; returns a new state.
        state: A tuple of tensors.

    Returns:
        The last state.
    """

    def call(index, *state, count):
        start = 0
        if places.window is not None and isinstance(count, int):
            first = index * places.block - (places.window - 1)
            start = ops.clip(first, 0, keys - count)
        return body(index, SeenKeys(start, count), state)

    for first, end, count in _parts(places, rows, keys):
        state = repeat_blocks(first, end, functools.partial(call, count=count), state)
    return state


def _parts(places, rows, keys):
    """Returns runs of blocks as `(first, end, number of keys that each block sees)`."""
    num_blocks = rows // places.block
    is_known = isinstance(rows, int) and isinstance(keys, int)
    if places.window is not None and is_known:
        around = (places.window - 1) * (1 if places.causal else 2)
        return [(0, num_blocks, min(keys, places.block + around))]
    if not (places.causal and is_known):
        return [(0, num_blocks, keys)]
    per_part = -(-num_blocks // _CAUSAL_PARTS)
    starts = range(0, num_blocks, per_part)
    ends = [min(start + per_part, num_blocks) for start in starts]
    return [
        (start, end, min(end * places.block, keys)) for start, end in zip(starts, ends, strict=True)
    ]


def masks_of_place(places: Places, index: Tensor, seen: SeenKeys) -> Iterator[Tensor]:
    """Yields the causal and window masks of a block, boolean (R, S)."""
    offset = index * places.block - seen.start
    if places.causal:
        yield causal_mask(places.block, seen.length, offset=offset)
    if places.window is not None:
        queries = ops.arange(places.block, dtype="int32") + offset
        yield window_mask(queries, ops.arange(seen.length, dtype="int32"), places.window)


def take_keys(tensor: Tensor, seen: SeenKeys, axis: int = 2) -> Tensor:
    """Slices the seen keys from keys or values (B, K, S, H), or from another axis."""
    shape, start = list(ops.shape(tensor)), [0] * len(tensor.shape)
    shape[axis], start[axis] = seen.length, seen.start
    return ops.slice(tensor, same_type(*start), shape)


def add_to_keys(total: Tensor, change: Tensor, seen: SeenKeys) -> Tensor:
    """Adds to the gradient (B, K, S, H) at the seen keys."""
    return ops.slice_update(total, same_type(0, 0, seen.start, 0), take_keys(total, seen) + change)
