"""NumPy's `.npz` files, whose headers are compared with the data before any array is created."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_transformer.files.zip_archives import open_archive

_SUFFIX = ".npy"
# Booleans, integers, floats and texts.
_KINDS = "biufU"
_AXES = 8
_HEADER_BYTES = 10_000
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ArrayHeader(NamedTuple):
    """Shape and dtype of an array, as stated in its header.

    Attributes:
        shape: Its shape.
        dtype: Its dtype.
    """

    shape: tuple[int, ...]
    dtype: np.dtype


class ArrayArchive:
    """The arrays of an open `.npz` file.

    Args:
        archive: An archive opened by `open_archive`.

    Raises:
        ValueError: If an entry is not an array of booleans, numbers or texts, or its header does
            not match the size of its data.
    """

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        self.headers: dict[str, ArrayHeader] = {}
        for entry in archive.infolist():
            name = entry.filename.removesuffix(_SUFFIX)
            if name == entry.filename:
                raise self._wrong(name, f"an entry that does not end in {_SUFFIX}")
            with archive.open(entry) as file:
                self.headers[name] = self._header(name, file, entry.file_size)

    def _wrong(self, name: str, what: str) -> ValueError:
        return ValueError(
            f"`{self._archive.filename}` must contain plain arrays. "
            f"Received: {name!r:.200}, {what}."
        )

    def _header(self, name: str, file: Any, size: int) -> ArrayHeader:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise self._wrong(name, f"in the format {version}")
        shape, _, dtype = _READERS[version](file, max_header_size=_HEADER_BYTES)
        if dtype.kind not in _KINDS or dtype.hasobject or dtype.fields or dtype.subdtype:
            raise self._wrong(name, f"of the dtype {dtype!s:.200}")
        num_bytes, found = math.prod(shape) * dtype.itemsize, size - file.tell()
        if len(shape) > _AXES or min(shape, default=0) < 0 or num_bytes != found:
            raise self._wrong(name, f"with the shape {shape!s:.200} of {dtype} in {found} bytes")
        return ArrayHeader(shape, dtype)

    def read(self, name: str) -> np.ndarray:
        """Reads one array.

        Args:
            name: Its name, one of `headers`.

        Returns:
            The array.

        Raises:
            ValueError: If there is no such array.
        """
        if name not in self.headers:
            raise ValueError(
                f"`{self._archive.filename}` must contain the array {name!r}. "
                f"Received: {sorted(self.headers)!s:.200}."
            )
        with self._archive.open(name + _SUFFIX) as file:
            array = np.lib.format.read_array(
                file, allow_pickle=False, max_header_size=_HEADER_BYTES
            )
            file.read(1)  # reads nothing; `zipfile` checks the CRC at the end of an entry
        return array


@contextlib.contextmanager
def open_arrays(path: str | os.PathLike) -> Iterator[ArrayArchive]:
    """Opens a `.npz` file, and reads the headers of its arrays.

    Nothing in it is unpickled. Before reading an array, compare its shape in `headers` with the
    expected one: a small file may unpack to a large array, see `open_archive`.

    Args:
        path: The path of a regular file.

    Returns:
        A context manager with an `ArrayArchive`. Errors while reading inside the context become a
        ValueError that names the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a zip archive of plain arrays.

    Example:
        ```python
        with open_arrays("adapters.npz") as archive:
            shapes = {name: header.shape for name, header in archive.headers.items()}
            arrays = {name: archive.read(name) for name in shapes if name in expected}
        ```
    """
    with open_archive(path) as archive:
        yield ArrayArchive(archive)
