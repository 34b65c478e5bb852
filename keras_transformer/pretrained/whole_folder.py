"""Writing folders completely or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_new_folder(folder: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Writes a folder that does not exist or is empty.

    Args:
        folder: Its path; parent folders are created.
        write: Writes all files to the folder that it is given.

    Raises:
        ValueError: If the folder is not empty.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(
            f"`folder` must be new or empty. Received: folder={str(folder)!r}, which is not an "
            "empty folder."
        )
    replace_folder(folder, write)


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes a temporary folder and moves it into place when it is complete.

    Args:
        folder: Its path; existing contents are replaced, and kept after an error.
        write: Writes all files to the folder that it is given.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        (work / "new").mkdir()
        write(work / "new")
        if folder.exists():
            folder.rename(work / "old")
        (work / "new").rename(folder)
    except BaseException:
        if (work / "old").exists() and not folder.exists():
            (work / "old").rename(folder)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
