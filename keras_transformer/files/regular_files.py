"""Regular files, opened only where they are and in the size that they may have.

A path that the user passes may be a link, since the user made it. What is inside a folder may come
from anyone: a file there must resolve to a place inside the folder. The exception is the cache of
the Hugging Face hub, whose files are links from `snapshots/<revision>/` to `blobs/` of the same
repository.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePath, PureWindowsPath
from typing import BinaryIO

# More than any text that is read as a whole: the largest tokenizer.json have tens of megabytes.
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
        The path, as it is.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If there is something else, such as a folder, a pipe, a device or a loop of
            links.

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
    """Returns whether a folder lists a name, of whatever kind; reading it then checks the kind."""
    return os.path.lexists(path)


def file_in(folder: str | os.PathLike, name: str) -> Path:
    """Returns the path of a regular file inside a folder.

    Args:
        folder: The folder, as the user names it.
        name: Path of the file within the folder.

    Returns:
        `folder / name`.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is something else than a regular file, or leaves the folder: by its
            name, or by a link to anywhere but the folder or the blobs of its hub repository.

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
            # Not resolved: in a cache, `blobs` is no link.
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
        FileNotFoundError: If there is nothing.
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
        FileNotFoundError: If there is nothing.
        ValueError: If it is not a readable regular file, or larger than `limit`.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"`{path}` must have at most {limit} bytes. Received: {size} bytes.")
        # Not `limit` bytes, for which Python would allocate a buffer first.
        content = file.read(size)
        if file.read(1):  # it grows, or states no size, like those of /proc
            raise ValueError(f"`{path}` must be an ordinary file. Received: one that grows.")
    return content


def read_text(
    path: str | os.PathLike, limit: int = TEXT_LIMIT, *, universal_newlines: bool = False
) -> str:
    """Reads a whole regular file of UTF-8 text.

    Args:
        path: The path.
        limit: Maximum number of bytes.
        universal_newlines: Whether all ends of lines become those of Unix, as in Python's own
            text files.

    Returns:
        Its text.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is not a readable regular file, larger than `limit`, or not UTF-8.
    """
    try:
        text = read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path}` must be a file of UTF-8 text. Received: {error}.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n") if universal_newlines else text
