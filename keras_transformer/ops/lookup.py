"""Rows of a table by their numbers.

Shape letters: V rows of the table, D width.
"""

from typing import Any

from keras import backend, ops

Tensor = Any


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Looks up rows of a table; the gradient of the table is dense on every backend.

    Args:
        table: (V, D).
        rows: (...) integers in [0, V).

    Returns:
        (..., D).
    """
    if backend.backend() != "tensorflow":
        return ops.take(table, rows, axis=0)
    # Along the first axis TensorFlow's gradient is a list of rows, in which one that was looked up
    # n times stands n times. Norms of gradients do not add these up: clipping by them is wrong. And
    # where replicas join their lists, Adam squares the parts of a row's gradient, not their sum.
    return ops.squeeze(ops.take(ops.expand_dims(table, axis=0), rows, axis=1), axis=0)
