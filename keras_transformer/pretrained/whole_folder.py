"""A folder that is written as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_new_folder(folder: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Writes a folder where there is none, or an empty one.

    Args:
        folder: its path; folders above it are made.
        write: writes everything into the folder that it is given.

    Raises:
        ValueError: there is something already.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(
            f"`folder` must be new or empty. Received: folder={str(folder)!r}, which holds "
            "something."
        )
    replace_folder(folder, write)


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder beside its place and moves it there when it is complete.

    Args:
        folder: its path; what is there is replaced, and stays as it was after an error.
        write: writes everything into the folder that it is given.
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
