"""Writing folders completely or not at all.

A new folder is written under a temporary name and renamed. An existing folder is updated from
within, in two steps that survive being killed at any moment:

1. The new files are written to `.saving` inside it. Until they are complete, the old ones count.
2. `.saving` is renamed to `.saved`. From this moment the new files count: `path_in` finds each of
   them in `.saved` until it has been moved to its place. The next save finishes an interrupted
   move.

Unlike exchanging two folders, this works on every system and for folders that are links or mount
points, and does not touch other files in the folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from keras_transformer.files.whole_file import flush_folder, flush_to_disk
from keras_transformer.files.write_failures import naming_failed_writes

_SAVING, _SAVED, _REPLACED = ".saving", ".saved", ".replaced"
_UNCHANGED = "The earlier contents of the folder are unchanged."


def write_new_folder(folder: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Writes a folder that does not exist or is empty.

    Args:
        folder: Its path; parent folders are created.
        write: Writes all files to the folder that it is given.

    Raises:
        ValueError: If the folder is not empty.
        OSError: If the disk is full or refuses a write; the message names the file and the folder.
    """
    folder = Path(os.path.realpath(folder))
    if folder.exists() and not is_empty(folder):
        raise ValueError(
            f"`folder` must be new or empty. Received: folder={str(folder)!r}, which is not an "
            "empty folder."
        )
    work = folder.with_name(f".{folder.name}{_SAVING}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        with naming_failed_writes(folder, work, "There is no new folder."):
            work.mkdir(parents=True)
            write(work)
            _flush(work)
            if folder.exists():
                shutil.rmtree(folder)  # holds at most files of interrupted saves
            work.rename(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    flush_folder(folder.parent)


def update_folder(
    folder: str | os.PathLike, write: Callable[[Path], None], own: Collection[str] = ()
) -> None:
    """Writes files and folders into a folder, all of them or none.

    Existing entries of the same names are replaced, and all others are kept. Read the folder
    through `path_in`.

    Args:
        folder: Its path; created if missing.
        write: Writes all files to the folder that it is given.
        own: Names that an earlier save may have written. Those not written again are removed.

    Raises:
        OSError: If the disk is full or refuses a write; the message names the file and the folder.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / _SAVING
    try:
        _move_into_place(folder)
        shutil.rmtree(work, ignore_errors=True)
        with naming_failed_writes(folder, work, _UNCHANGED):
            work.mkdir()
            write(work)
            _flush(work)
            names = {path.name for path in work.iterdir()}
            work.rename(folder / _SAVED)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise
    flush_folder(folder)
    _move_into_place(folder)
    for name in set(own) - names:
        _remove(folder / name)


def path_in(folder: str | os.PathLike, name: str) -> Path:
    """Returns where to read a file or folder that `update_folder` has written.

    Args:
        folder: The folder.
        name: The name in the folder.

    Returns:
        Its path, which exists only if the file does.
    """
    return Path(folder, saved_name(folder, name))


def saved_name(folder: str | os.PathLike, name: str) -> str:
    """Returns the same place as `path_in`, relative to the folder, for `file_in`."""
    unmoved = os.path.join(_SAVED, name)
    return unmoved if os.path.lexists(Path(folder, unmoved)) else name


def is_empty(folder: Path) -> bool:
    """Whether a path is a folder without files, except for those of an incomplete save."""
    leftovers = {_SAVING, _REPLACED}
    return folder.is_dir() and leftovers.issuperset(path.name for path in folder.iterdir())


def _move_into_place(folder: Path) -> None:
    """Moves the files of a complete save to their places, one at a time."""
    saved = folder / _SAVED
    for path in sorted(saved.iterdir()) if saved.is_dir() else ():
        place = folder / path.name
        if place.exists() and (place.is_dir() or path.is_dir()):
            # A folder cannot be renamed onto another. In the meantime, `path_in` finds the new one.
            _remove(folder / _REPLACED)
            place.rename(folder / _REPLACED)
        path.replace(place)
    _remove(folder / _REPLACED)
    if saved.is_dir():
        saved.rmdir()
    flush_folder(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        flush_folder(path) if path.is_dir() else flush_to_disk(path)
    flush_folder(folder)
