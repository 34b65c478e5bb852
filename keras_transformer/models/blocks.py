"""The blocks of a factory's stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def make_blocks(
    block_class: type, window: int | Sequence[int | None] | None = None, **arguments: Any
) -> keras.layers.Layer | list[keras.layers.Layer]:
    """Makes the `block` of a stack.

    Args:
        block_class: the class of the block.
        window: the block's window, or a sequence of windows that the layers take turns with, such
            as `(None, 128)` for GPT-3's alternation of dense and local attention.
        **arguments: the other arguments of the block.

    Returns:
        A block, or one for each window of a sequence.

    Raises:
        ValueError: an empty sequence, or an argument that the block refuses.
    """
    if not isinstance(window, (list, tuple)):
        return block_class(window=window, **arguments)
    if not window:
        raise ValueError(f"`window` must not be an empty sequence. Received: window={window!r}.")
    return [block_class(window=one, **arguments) for one in window]
