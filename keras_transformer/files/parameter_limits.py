"""A limit on the number of parameters while a model described by a file is being built."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras

# Values allowed in addition to twice those in the file, for rows of new ids, shared tables etc.
_FREE = 2**20


@dataclasses.dataclass
class _Account:
    """The number of values that may still be created."""

    left: int
    num_values: int
    path: str


_account: ContextVar[_Account | None] = ContextVar("account_of_parameters", default=None)
_lock = threading.Lock()
_inside = 0
_original: Any = None


@contextlib.contextmanager
def parameter_limit(num_values: int, path: str | os.PathLike) -> Iterator[None]:
    """A context that stops building a model that needs more values than its file has.

    A config can ask for a width of a billion. Each variable of any Keras layer is counted before it
    is created, so that such a model fails before it takes memory. Keras has no hook for this:
    `keras.layers.Layer.add_weight` is replaced inside the context, and only counts in the thread
    that entered it.

    Args:
        num_values: Number of values in the file. Twice as many and a million more are allowed.
        path: The file with the sizes, for messages.

    Returns:
        A context manager.

    Raises:
        ValueError: If a layer creates a variable beyond the limit.

    Example:
        >>> import keras
        >>> from keras_transformer.files import parameter_limit
        >>> with parameter_limit(1000, "config.json"):
        ...     keras.layers.Dense(10**9).build((1, 10**9))
        Traceback (most recent call last):
        ValueError: `config.json` must describe a model whose values are in its files...
    """
    token = _account.set(_Account(2 * num_values + _FREE, num_values, os.fspath(path)))
    _replace()
    try:
        yield
    finally:
        _restore()
        _account.reset(token)


def _replace():
    global _inside, _original
    with _lock:
        if not _inside:
            _original = keras.layers.Layer.add_weight
            keras.layers.Layer.add_weight = _counting(_original)  # type: ignore[method-assign]
        _inside += 1


def _restore():
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            keras.layers.Layer.add_weight = _original


def _counting(add_weight):
    @functools.wraps(add_weight)
    def counting(self, *args, **kwargs):
        _count(self, args[0] if args else kwargs.get("shape"))
        return add_weight(self, *args, **kwargs)

    return counting


def _count(layer: keras.layers.Layer, shape: Any) -> None:
    account = _account.get()
    if account is None:
        return
    sizes = [shape] if isinstance(shape, int) else list(shape or ())
    account.left -= math.prod(size for size in sizes if size is not None)
    if account.left < 0:
        raise ValueError(
            f"`{account.path}` must describe a model whose values are in its files. Received: a "
            f"variable of shape {tuple(sizes)} in the layer {layer.path!r}, where the files hold "
            f"{account.num_values} values."
        )
