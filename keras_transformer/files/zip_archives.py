"""Zip archives, checked before anything in them is unpacked."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

from keras_transformer.files.file_errors import naming_file
from keras_transformer.files.regular_files import regular_file

# An archive may unpack to this many bytes or, if that is more, to this multiple of its own size.
# Weights hardly compress; only text and index tables come close to the limit.
_FREE_BYTES = 2**26
_EXPANSION = 20
_ENTRIES = 100_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


@contextlib.contextmanager
def open_archive(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive whose directory has been checked.

    All entries have distinct names inside the archive, are stored or deflated and not encrypted,
    fit into the file, and together unpack to at most 64 MiB or 20 times the size of the file.
    Errors while reading inside the context become a ValueError that names the file.

    Args:
        path: The path of a regular file.

    Returns:
        A context manager with the `zipfile.ZipFile`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such an archive.

    Example:
        ```python
        with open_archive("model.keras") as archive:
            config = parse_json(read_entry(archive, "config.json"), "model.keras")
        ```
    """
    regular_file(path)
    with naming_file(path, "be an intact zip archive"), zipfile.ZipFile(path) as archive:
        _check_entries(archive.infolist(), os.stat(path).st_size, path)
        yield archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Reads one entry of a checked archive, and checks its CRC.

    Args:
        archive: An archive opened by `open_archive`.
        name: Name of the entry.

    Returns:
        Its content.

    Raises:
        ValueError: If there is no such entry.
    """
    if name not in archive.namelist():
        raise ValueError(f"`{archive.filename}` must contain {name}. Received: no such entry.")
    return archive.read(name)


def _check_entries(entries: list[zipfile.ZipInfo], size: int, path: str | os.PathLike) -> None:
    problem = _problem(entries, size)
    if problem is not None:
        raise ValueError(f"`{path}` must be an intact zip archive. Received: {problem}.")


def _problem(entries: list[zipfile.ZipInfo], size: int) -> str | None:
    names = {entry.filename for entry in entries}
    if len(entries) > _ENTRIES:
        return f"{len(entries)} entries"
    if len(names) != len(entries):
        return f"{len(entries)} entries with {len(names)} names"
    for entry in entries:
        name = entry.filename
        if _leaves(name):
            return f"the name {name!r:.200}, outside the archive"
        if entry.flag_bits & _ENCRYPTED:
            return f"{name!r:.200}, which is encrypted"
        if entry.compress_type not in _METHODS:
            return f"{name!r:.200}, compressed by the method {entry.compress_type}"
        if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            return f"{name!r:.200} with {entry.file_size} bytes in {entry.compress_size}"
    packed = sum(entry.compress_size for entry in entries)
    unpacked = sum(entry.file_size for entry in entries)
    if packed > size:
        return f"entries of {packed} bytes in a file of {size} bytes"
    if unpacked > max(_FREE_BYTES, _EXPANSION * size):
        return f"{size} bytes that unpack to {unpacked} bytes"
    return None


def _leaves(name: str) -> bool:
    places = (PurePosixPath(name), PureWindowsPath(name))
    return any(place.anchor or ".." in place.parts for place in places) or not name
