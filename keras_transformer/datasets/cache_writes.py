"""Writing to a folder that several processes may share, without leaving anything incomplete."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = ".partial-"


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[Path]:
    """Waits until no other process writes to a folder, and provides a temporary folder inside it.

    Files are prepared in the temporary folder and moved into place when they are complete. Files
    that killed processes left behind are deleted first.

    Args:
        folder: The folder; it is created if it does not exist.

    Yields:
        The path of the temporary folder, which is deleted at the end.

    Raises:
        OSError: If the folder cannot be created or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as is_locked:
        # Without a lock, another process may still be working there.
        if is_locked:
            _delete_leftovers(folder)
        with tempfile.TemporaryDirectory(
            dir=folder, prefix=_PREFIX, ignore_cleanup_errors=True
        ) as temporary:
            yield Path(temporary)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Holds the lock of a folder, and yields whether the file system supports locks.

    The system releases the lock when the process ends, however it ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            is_locked = True
        except OSError:  # some network drives have no locks
            is_locked = False
        yield is_locked
    finally:
        os.close(handle)


def _delete_leftovers(folder: Path) -> None:
    for path in list(folder.rglob(f"{_PREFIX}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
