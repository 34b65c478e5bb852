"""Reads regular files, only from where they may be and only up to a maximum size.

A path that the user passes may be a link, since the user chose it. The contents of a folder may
come from anyone, so a file there must resolve to a place inside the folder. The exception is the
cache of the Hugging Face hub, whose files are links from `snapshots/<revision>/` to `blobs/` of the
same repository.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath, PureWindowsPath
from typing import BinaryIO

# More than any text file needs: the largest tokenizer.json files have tens of megabytes.
TEXT_LIMIT = 2**28

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def regular_file(path: str | os.PathLike) -> Path:
    """Returns the path of a regular file that the user names; links are followed.

    Args:
        path: The path.

    Returns:
        The path, unchanged.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, such as a folder, a pipe, a device or a loop of links.

    Example:
        ```python
        with open(regular_file("adapters.npz"), "rb") as file:
            content = file.read()
        ```
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise _nothing(path) from None
    except (OSError, ValueError) as error:  # a loop, no permission, a name too long or with a NUL
        raise ValueError(f"`{path}` must be a readable file. Received: {error}.") from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ValueError(f"`{path}` must be a regular file. Received: {kind}.")
    return Path(path)


def is_listed(path: Path) -> bool:
    """Returns whether a folder has an entry of this name; reading it checks what kind it is."""
    return os.path.lexists(path)


def file_in(folder: str | os.PathLike, name: str) -> Path:
    """Returns the path of a regular file inside a folder.

    Args:
        folder: The folder, as the user names it.
        name: Path of the file within the folder.

    Returns:
        `folder / name`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a regular file, or is outside the folder, through its name or a
            link to anywhere but the folder itself or the blobs of its hub repository.

    Example:
        ```python
        config = read_json(file_in("model", "config.json"))
        ```
    """
    path = _inside(folder, name)
    return regular_file(path)


def folder_in(folder: str | os.PathLike, name: str) -> Path:
    """Returns the path of a folder inside a folder, by the rules of `file_in`."""
    path = _inside(folder, name)
    if not path.is_dir():
        raise ValueError(f"`{path}` must be a folder. Received: something else.")
    return path


def _inside(folder: str | os.PathLike, name: str) -> Path:
    path = Path(folder, name)
    inner = PurePath(name)
    # On Windows, `C:x` and `\\x` leave a folder as well, and other systems may write such names.
    parts = {*inner.parts, *PureWindowsPath(name).parts}
    if not inner.parts or ".." in parts or inner.is_absolute() or PureWindowsPath(name).anchor:
        raise ValueError(f"`{folder}` must name only files inside it. Received: {name!r}.")
    try:
        place = Path(os.path.realpath(path, strict=True))
        root = Path(os.path.realpath(folder, strict=True))
    except FileNotFoundError:
        raise _nothing(path) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"`{path}` must be readable. Received: {error}.") from error
    if not place.is_relative_to(root) and not _is_blob(place, root):
        raise ValueError(
            f"`{path}` must be inside its folder, or in the blobs of its repository in the Hugging "
            f"Face hub's cache. Received: a link to {place}."
        )
    return path


def _is_blob(place: Path, root: Path) -> bool:
    """Returns whether a place is in the blobs that belong to a snapshot of the hub's cache."""
    for one in (root, *root.parents):
        if one.parent.name == "snapshots":
            # Not resolved, because `blobs` is not a link in a cache.
            return place.parent == one.parent.parent / "blobs"
    return False


def _nothing(path):
    return FileNotFoundError(f"`{path}` must be a file. Received: nothing at this path.")


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Opens a regular file for reading, by the rules of `regular_file`.

    Args:
        path: The path.

    Returns:
        The file, in binary mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a readable regular file.
    """
    try:
        return open(regular_file(path), "rb")
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"`{path}` must be a readable file. Received: {error}.") from error


def read_bytes(path: str | os.PathLike, limit: int = TEXT_LIMIT) -> bytes:
    """Reads a whole regular file.

    Args:
        path: The path.
        limit: Maximum number of bytes.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a readable regular file, or larger than `limit`.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"`{path}` must have at most {limit} bytes. Received: {size} bytes.")
        # Not `read(limit)`, which would allocate a buffer of that size.
        content = file.read(size)
        if file.read(1):  # the file is growing, or reports no size, like those in /proc
            raise ValueError(f"`{path}` must be an ordinary file. Received: one that grows.")
    return content


def read_text(
    path: str | os.PathLike, limit: int = TEXT_LIMIT, *, universal_newlines: bool = False
) -> str:
    """Reads a whole regular file of UTF-8 text.

    Args:
        path: The path.
        limit: Maximum number of bytes.
        universal_newlines: Whether all line endings become those of Unix, as when Python opens a
            file in text mode.

    Returns:
        Its text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a readable regular file, larger than `limit`, or not UTF-8.
    """
    try:
        text = read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path}` must be a file of UTF-8 text. Received: {error}.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if universal_newlines else text
