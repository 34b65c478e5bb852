"""Writing a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from keras_transformer.files.write_failures import naming_failed_writes


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Writes a file under a temporary name, and moves it into place when it is complete.

    A killed process leaves the previous file unchanged and at most one hidden file next to it,
    which the next save replaces.

    Args:
        path: Path of the file. Its folder must exist.

    Yields:
        The path to write to, with the same file extension.

    Raises:
        OSError: If the disk is full or refuses the write. The message names the file; the previous
            one is unchanged.
    """
    path = Path(path)
    work = path.with_name(f".saving-{path.name}")
    try:
        with naming_failed_writes(path, work, "An earlier file of this name is unchanged."):
            yield work
            flush_to_disk(work)
            os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)
    flush_folder(path.parent)


def flush_to_disk(path: Path) -> None:
    """Waits until a file is on the disk, so that not even a power failure leaves part of it."""
    # Only Windows needs write access, which copied files may lack.
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_folder(path: Path) -> None:
    """Waits until the names in a folder are on the disk, on systems that can do this."""
    # Windows cannot open a folder, and some network file systems cannot flush one.
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
