"""Lookup of table rows by index.

Shape letters: V rows of the table, D width.
"""

from typing import Any

from keras import backend, ops

Tensor = Any


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """Looks up rows of a table, with a dense gradient on every backend.

    Args:
        table: (V, D).
        rows: (...) integers in [0, V).

    Returns:
        (..., D). Outside of [0, V), torch and TensorFlow raise an error; JAX and TensorFlow
        compiled with XLA, which cannot, return NaN.
    """
    rows = ops.cast(rows, "int32")
    if backend.backend() != "tensorflow":
        # Negative rows would silently count from the end.
        return ops.take(table, ops.where(rows < 0, table.shape[0], rows), axis=0)
    # Along the first axis, TensorFlow's gradient is a list of rows, in which a row looked up n
    # times appears n times. Gradient norms do not sum the duplicates, so clipping would be wrong.
    # And where replicas concatenate their lists, Adam squares the parts of a row's gradient rather
    # than their sum.
    found = ops.squeeze(ops.take(ops.expand_dims(table, axis=0), rows, axis=1), axis=0)
    # XLA would silently take the nearest row.
    known = ops.logical_and(rows >= 0, rows < table.shape[0])
    return found * ops.cast(ops.where(known, 1.0, float("nan")), found.dtype)[..., None]
