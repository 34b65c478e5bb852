"""Errors about files: a ValueError that names the file, whatever the reader underneath raises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# Errors that are passed on: no such file, a package that is not installed, no memory left.
_AS_THEY_ARE = (FileNotFoundError, ImportError, MemoryError)
# The number of characters after which messages are cut: they may quote half a file.
_LONGEST = 1000


@contextlib.contextmanager
def naming_file(path: str | os.PathLike, must: str = "be an intact file") -> Iterator[None]:
    """A context in which errors become a ValueError that names a file.

    Libraries that parse damaged files raise many types of errors, few of which name the file.
    FileNotFoundError, ImportError and MemoryError are passed on.

    Args:
        path: The file, or the folder with the files that are read.
        must: What the file must do or be, for the message if the error is not a ValueError.

    Returns:
        A context manager.

    Raises:
        ValueError: Instead of any other error inside the context. A ValueError that already names
            the file is passed on; otherwise the name is added. Long messages are cut.

    Example:
        >>> from keras_transformer.files import naming_file
        >>> with naming_file("lengths.bin"):
        ...     [1, 2][7]
        Traceback (most recent call last):
        ValueError: `lengths.bin` must be an intact file. Received: IndexError: list index out of range.
    """  # noqa: E501  # the message of the example
    try:
        yield
    except _AS_THEY_ARE:
        raise
    except Exception as error:
        message = str(error)
        is_ours = type(error) is ValueError
        if is_ours and _names(message, Path(path)) and len(message) <= _LONGEST:
            raise
        raise ValueError(_named(path, must, error, message, is_ours)) from error
    except BaseException as error:
        # The type of a panic in a library written in Rust, which no `except Exception` catches.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(_named(path, must, error, str(error), False)) from error


def _names(message: str, path: Path) -> bool:
    """Returns whether a message names a file, or another file in its folder."""
    # A name without a suffix may be a common word.
    if str(path) in message or (path.suffix and path.name in message):
        return True
    return path.parent != Path() and f"{path.parent}{os.sep}" in message


def _named(path, must, error, message, is_ours):
    message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}..."
    if is_ours and message:
        return f"{message.rstrip('.')}. Read from {path}."
    received = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"`{path}` must {must}. Received: {received.rstrip('.')}."
