"""One file in the GGUF format of llama.cpp: settings, and tensors in many types, some quantized.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; numbers are
little-endian. The package gguf provides the types of tensors and their dequantization. Its reader
is not used: it creates several arrays per string of a vocabulary, and trusts the lengths in a file.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from keras_transformer.checks import shortened
from keras_transformer.files import file_in, is_listed, naming_file, open_file

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
# The types of settings, by their numbers in a file.
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_NUMBERS[12] = "d"
# Rows dequantized at a time: more take more memory, and fewer take more time.
_ROWS = 1024
_AXES = 8


def find_gguf(path: str | os.PathLike) -> Path | None:
    """Returns the GGUF file that a path names, or the one in a folder.

    Args:
        path: A file, or a folder.

    Returns:
        The file; None if the folder has a config.json, or there is no GGUF file.

    Raises:
        ValueError: If the folder has several GGUF files.
    """
    path = Path(path)
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    if not path.is_dir() or is_listed(path / "config.json"):
        return None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        raise ValueError(
            "`folder` must contain only one GGUF file, or be the path of a file. Received: "
            f"{[one.name for one in found]} in {path}."
        )
    return file_in(path, found[0].name) if found else None


class _Tensor(NamedTuple):
    shape: tuple[int, ...]  # in NumPy's order of axes
    kind: Any  # gguf.GGMLQuantizationType
    offset: int
    num_bytes: int


class GGUFFile:
    """The settings and tensors of a GGUF file.

    Args:
        path: The file.

    Raises:
        ValueError: If the file is damaged or incomplete, or a tensor has an unknown type.
        ImportError: If the package gguf is not installed.
    """

    def __init__(self, path: Path):
        self.path = path
        with open_file(path) as file, naming_file(path, "be an intact file in the GGUF format"):
            header = _Header(path, file)
            count = header.start()
            num_settings = header.number("Q")
            self._settings = dict(header.setting() for _ in range(num_settings))
            tensors = [header.tensor() for _ in range(count)]
        alignment = self.setting("general.alignment", int, 32)
        if alignment < 1:
            raise ValueError(
                f"`general.alignment` in {path} must be at least 1. Received: {alignment}."
            )
        start = _aligned(header.place, alignment)
        self._tensors = {
            name: tensor._replace(offset=start + tensor.offset) for name, tensor in tensors
        }
        _check_places(path, self._tensors, len(tensors), start, alignment)
        if self.setting("split.count", int, 1) != 1:
            raise ValueError(
                f"`split.count` in {path} must be 1, for a file with all tensors. "
                f"Received: {self._settings['split.count']}."
            )

    def settings(self) -> list[str]:
        """Returns the names of all settings."""
        return list(self._settings)

    def setting(self, name: str, kind: type, default: Any = None) -> Any:
        """Returns the value of a setting.

        Args:
            name: Its name, such as "general.architecture".
            kind: Its type: int, float, bool, str or list; object for any.
            default: The value if the file does not have the setting.

        Returns:
            The value.

        Raises:
            ValueError: If it has another type.
        """
        if name not in self._settings:
            return default
        value = self._settings[name]
        fits = isinstance(value, kind) or (kind is float and type(value) is int)
        if not fits or (isinstance(value, bool) and kind not in (bool, object)):
            raise ValueError(
                f"`{name}` in {self.path} must be of type {kind.__name__}. Received: {value!r:.80}."
            )
        return value

    def names(self) -> Iterator[str]:
        """Returns the names of all tensors."""
        return iter(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor, in NumPy's order of axes."""
        return self._tensors[name].shape

    def read(self, name: str) -> np.ndarray:
        """Reads one tensor as float32.

        Args:
            name: Name of the tensor.

        Returns:
            The array, dequantized by the package gguf.

        Raises:
            ValueError: If its type is not supported.
        """
        from gguf import quants

        tensor = self._tensors[name]
        rows = math.prod(tensor.shape[:-1])
        result = np.empty((rows, tensor.shape[-1]), "float32")
        row_bytes = tensor.num_bytes // rows
        with open(self.path, "rb") as file:
            file.seek(tensor.offset)
            for first in range(0, rows, _ROWS):
                count = min(_ROWS, rows - first)
                data = np.frombuffer(file.read(count * row_bytes), np.uint8)
                try:
                    part = quants.dequantize(data.reshape(count, row_bytes), tensor.kind)
                except NotImplementedError as error:
                    raise ValueError(
                        f"The tensor {name!r} in {self.path} must have a type that the package "
                        f"gguf can dequantize. Received: {tensor.kind.name}."
                    ) from error
                result[first : first + count] = part
        return result.reshape(tensor.shape)


class _Header:
    """The part of a file before the values of the tensors, read from start to end."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self.file, self.place = path, file, 0
        self.size = path.stat().st_size

    def damaged(self, what: str) -> ValueError:
        return ValueError(f"`{self.path}` must be an intact file in the GGUF format. {what}")

    def take(self, count: int) -> bytes:
        if self.place + count > self.size:
            raise self.damaged(
                f"Received: {self.size} bytes, where {count} more are needed at {self.place}."
            )
        self.place += count
        return self.file.read(count)

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        encoded = self.take(self.number("Q"))
        try:
            return encoded.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"Received: a text that is not in UTF-8 ({error}).") from error

    def start(self) -> int:
        """Returns the number of tensors."""
        magic = self.take(len(_MAGIC))
        if magic != _MAGIC:
            raise self.damaged(f"Received: the first bytes {magic!r} instead of {_MAGIC!r}.")
        version = self.number("I")
        if version not in _VERSIONS:
            raise self.damaged(f"Received: version {version}, not one of {_VERSIONS}.")
        return self.number("Q")

    def setting(self) -> tuple[str, Any]:
        return self.text(), self.value(self.number("I"))

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner == _STRING:
                return [self.text() for _ in range(count)]
            if inner not in _NUMBERS:
                raise self.damaged(f"Received: an array of the unknown type {inner}.")
            item = struct.calcsize(f"<{_NUMBERS[inner]}")
            return np.frombuffer(self.take(count * item), f"<{_NUMBERS[inner]}").tolist()
        if kind not in _NUMBERS:
            raise self.damaged(f"Received: a setting of the unknown type {kind}.")
        return self.number(_NUMBERS[kind])

    def tensor(self) -> tuple[str, _Tensor]:
        name = self.text()
        axes = self.number("I")
        if axes > _AXES:
            raise self.damaged(f"Received: the tensor {shortened(name)} with {axes} axes.")
        shape = tuple(self.number("Q") for _ in range(axes))[::-1]
        kind, offset = _tensor_type(self, name, self.number("I")), self.number("Q")
        block, block_bytes = _sizes(self.path.name)[kind]
        if not shape or min(shape) < 1 or shape[-1] % block:
            raise self.damaged(
                f"Received: the tensor {name!r} of type {kind.name} with the shape {shape}."
            )
        return name, _Tensor(shape, kind, offset, math.prod(shape) // block * block_bytes)


def _gguf(name: str) -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ImportError(
            f"Reading {name} requires the package gguf: `pip install gguf`."
        ) from error
    return gguf


def _sizes(name):
    return _gguf(name).GGML_QUANT_SIZES


def _tensor_type(header, name, number):
    try:
        return _gguf(header.path.name).GGMLQuantizationType(number)
    except ValueError as error:
        raise header.damaged(
            f"Received: the unknown type {number} of the tensor {name!r}."
        ) from error


def _aligned(place, alignment):
    return -(-place // alignment) * alignment


def _check_places(path, tensors, count, start, alignment):
    """Raises unless the tensors follow each other without gaps until the end of the file.

    Otherwise, a wrong number of tensors or a truncated file would give wrong values.
    """
    if len(tensors) != count or not count:
        raise ValueError(
            f"`{path}` must contain each tensor once, and at least one. Received: {count} tensors "
            f"with {len(tensors)} names."
        )
    end = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].offset):
        if not name or tensor.offset != _aligned(end, alignment):
            raise ValueError(
                f"`{path}` must contain the tensors that it lists, one after the other. Received: "
                f"the tensor {name!r} at byte {tensor.offset}, expected at "
                f"{_aligned(end, alignment)}."
            )
        end = tensor.offset + tensor.num_bytes
    size = path.stat().st_size
    if not end <= size <= _aligned(end, alignment):
        raise ValueError(
            f"`{path}` must end with its last tensor. Received: {size} bytes for {count} tensors "
            f"that end at byte {end}."
        )
