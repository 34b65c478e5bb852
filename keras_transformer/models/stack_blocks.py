"""Prototypes of the blocks of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def make_blocks(
    block_class: type, window: int | Sequence[int | None] | None = None, **arguments: Any
) -> keras.layers.Layer | list[keras.layers.Layer]:
    """Creates the argument `block` of a stack.

    Args:
        block_class: The class of the block.
        window: The block's window, or a sequence of windows for the layers to alternate, such as
            `(None, 128)` for the alternating dense and local attention of GPT-3.
        **arguments: Other arguments of the block.

    Returns:
        A block, or a list with one block per window of a sequence.

    Raises:
        ValueError: If the sequence is empty, or the block rejects an argument.
    """
    if not isinstance(window, (list, tuple)):
        return block_class(window=window, **arguments)
    if not window:
        raise ValueError(f"`window` must not be an empty sequence. Received: window={window!r}.")
    return [block_class(window=one, **arguments) for one in window]
