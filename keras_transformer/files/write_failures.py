"""Errors of failed writes, which name the file and the folder and give the cause."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

# Libraries that write files themselves report the system's error number in their messages:
# Rust's as "(os error 28)", HDF5's as "errno = 28".
_NUMBER = re.compile(r"\bos error (\d+)|\berrno\s*=\s*(\d+)")
# TensorFlow's messages contain only the system's words.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def naming_failed_writes(place: Path, work: Path, unchanged: str) -> Iterator[None]:
    """Replaces file system errors in the context with an OSError that names the place.

    Args:
        place: The file or folder that is being saved.
        work: The file or folder that is written first.
        unchanged: The last sentence of the message, which says what is left unchanged.

    Raises:
        OSError: If the disk is full or the file system refuses a write, with the same error number.
            Other errors pass unchanged.
    """
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number is None:
            raise
        reason = os.strerror(number) if number else str(error)
        name = _last_written(work, place)
        message = f"Saving {place} failed while writing {name}: {reason}. {unchanged}"
        # Given its number, OSError creates a subclass such as PermissionError if there is one.
        raise (OSError(number, message) if number else OSError(message)) from error


def _error_number(error: BaseException) -> int | None:
    """Returns the system's error number, 0 if it is unknown, None for errors of other kinds."""
    text = str(error)
    if found := _NUMBER.search(text):
        return int(found[1] or found[2])
    if isinstance(error, OSError):
        return error.errno or 0
    return next((number for number in _FULL if os.strerror(number) in text), None)


def _last_written(work: Path, place: Path) -> str:
    """Returns the name of the file that was written last, relative to the place."""
    if not work.is_dir():
        return place.name
    files = [path for path in work.rglob("*") if path.is_file()]
    newest = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
    return "its first file" if newest is None else str(newest.relative_to(work))
