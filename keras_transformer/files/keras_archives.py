"""Models in `.keras` files, compared with the weights in the same file before they are built."""

from __future__ import annotations

import io
import math
import os
import zipfile
from typing import Any

import h5py
import keras

from keras_transformer.files.file_errors import naming_file
from keras_transformer.files.hdf5_files import datasets_of
from keras_transformer.files.json_files import parse_json
from keras_transformer.files.parameter_limits import parameter_limit
from keras_transformer.files.zip_archives import open_archive, read_entry

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MUST = "be an intact Keras model"


def load_keras_model(path: str | os.PathLike, compile: bool = False) -> keras.Model:
    """Loads a model from an untrusted `.keras` file.

    Keras's safe mode applies. The archive, its JSON and the layout of its HDF5 file are checked
    before anything is built. The model may not have more parameters than the file holds, see
    `parameter_limit`.

    Args:
        path: The path of a regular file.
        compile: Whether to compile the model as it was saved.

    Returns:
        The model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or breaks a rule; the message names it.

    Example:
        ```python
        model = load_keras_model("translator/model.keras")
        ```
    """
    num_values = check_keras_archive(path)
    with naming_file(path, _MUST), parameter_limit(num_values, path):
        return keras.models.load_model(path, compile=compile)


def check_keras_archive(path: str | os.PathLike) -> int:
    """Checks a `.keras` file without building its model.

    Args:
        path: The path of a regular file.

    Returns:
        The number of values in its weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or breaks a rule; the message names it.
    """
    with open_archive(path) as archive:
        # The CRC of every entry: Keras itself would accept weights with a flipped bit.
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(
                f"`{path}` must {_MUST}. Received: {damaged!r:.200}, whose CRC differs."
            )
        # Python's JSON writes infinities, as in the config of a layer without an upper bound.
        config = parse_json(read_entry(archive, _CONFIG), path, constants=True)
        with _weights(archive, path) as content, h5py.File(content, "r") as file:
            sizes = [math.prod(dataset.shape) for dataset in datasets_of(file, path).values()]
    _check_depth(config, len(sizes), path)
    return sum(sizes)


def _weights(archive: zipfile.ZipFile, path: str | os.PathLike) -> io.IOBase:
    if _WEIGHTS not in archive.namelist():
        raise ValueError(f"`{path}` must contain {_WEIGHTS}. Received: no such entry.")
    entry = archive.getinfo(_WEIGHTS)
    if entry.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(archive.read(entry))
    return _Part(path, _start(path, entry), entry.file_size)


def _start(path: str | os.PathLike, entry: zipfile.ZipInfo) -> int:
    """Returns the position of an entry's data, which follow a header of 30 bytes and two texts."""
    with open(path, "rb") as file:
        file.seek(entry.header_offset + 26)
        lengths = file.read(4)
    name, extra = (int.from_bytes(lengths[i : i + 2], "little") for i in (0, 2))
    return entry.header_offset + 30 + name + extra


class _Part(io.RawIOBase):
    """A part of a file, so that HDF5 reads only its headers from an archive of gigabytes."""

    def __init__(self, path, start, size):
        self._file, self._start, self._size, self._place = open(path, "rb"), start, size, 0

    def seekable(self):
        return True

    def readable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self):
        return self._place

    def readinto(self, buffer):
        count = max(0, min(len(buffer), self._size - self._place))
        self._file.seek(self._start + self._place)
        content = self._file.read(count)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)

    def close(self):
        self._file.close()
        super().close()


def _check_depth(config: Any, num_arrays: int, path: str | os.PathLike) -> None:
    """Raises if a stack has more layers than the file has arrays: layers come before weights."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        depth = one.get("num_layers") if isinstance(one, dict) else None
        if isinstance(depth, int) and depth > max(1, num_arrays):
            raise ValueError(
                f"`num_layers` in {path} must be at most {num_arrays}, the number of arrays in its "
                f"weights. Received: {depth}."
            )
        children = one.values() if isinstance(one, dict) else one
        waiting += [child for child in children if isinstance(child, (dict, list))]
