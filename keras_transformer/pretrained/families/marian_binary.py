"""Marian's binary model files, quantized to 8 bits as in Firefox, or in float32."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_transformer.checks import shortened
from keras_transformer.files import parse_yaml, read_bytes

_VERSION = 1
_FLOAT32, _INT8, _QUANTIZED = 0x0404, 0x0101, 0x4101
_SETTINGS = "special:model.yml"
# The file is read as a whole; the largest models have a few gigabytes.
_BYTES = 2**34
_AXES = 8


class _Item(NamedTuple):
    kind: int
    shape: tuple[int, ...]
    start: int
    size: int


class MarianBinary:
    """The tensors of a `.bin` file written by Marian (version 1, little endian).

    8-bit matrices (`intgemm8`) become float32, `q / m` with the multiplier `m` stored after the
    values; those whose names end in `_W` plus at most one letter are stored transposed.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If the file is damaged, has another version, or holds an unknown type.

    Reference:
        Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in C++"; the file
        format is that of `src/common/binary.cpp` in the browser's fork of Marian.
    """

    def __init__(self, path: Path):
        self.path, self.paths = path, [path]
        self._bytes = read_bytes(path, _BYTES)
        try:
            self._items = self._read_header()
        except (struct.error, UnicodeDecodeError) as error:
            raise self._damage(str(error)) from error

    def _damage(self, problem):
        return ValueError(f"`{self.path}` must be an intact binary Marian model. {problem}")

    def _read_header(self):
        data, size = self._bytes, len(self._bytes)
        version, count = struct.unpack_from("<QQ", data, 0)
        if version != _VERSION:
            raise self._damage(f"Its version must be {_VERSION}. Received: version={version}.")
        if 16 + 32 * count > size:
            raise self._damage(f"Received: {count} tensors in {size} bytes.")
        headers = list(struct.iter_unpack("<QQQQ", data[16 : 16 + 32 * count]))
        place, names, shapes = 16 + 32 * count, [], []
        for length, _, _, _ in headers:
            name = struct.unpack_from(f"<{self._within(place, length)}s", data, place)[0]
            names.append(name.split(b"\0")[0].decode("ascii"))
            place += length
        for _, _, rank, _ in headers:
            if rank > _AXES:
                raise self._damage(f"Received: a tensor with {rank} axes.")
            self._within(place, 4 * rank)
            shapes.append(struct.unpack_from(f"<{rank}i", data, place))
            place += 4 * rank
        (padding,) = struct.unpack_from("<Q", data, place)
        place += 8 + padding
        items = {}
        for name, shape, (_, kind, _, length) in zip(names, shapes, headers, strict=True):
            if name in items:
                raise self._damage(f"Received: the tensor {shortened(name)} twice.")
            items[name] = self._check(
                name, _Item(kind, shape, place, self._within(place, length, name))
            )
            place += length
        if place != size:
            raise self._damage(f"Received: {size} bytes, but its last tensor ends at {place}.")
        return items

    def _within(self, place, length, name="its header"):
        if place + length > len(self._bytes):
            raise self._damage(
                f"Received: {len(self._bytes)} bytes, but {name} ends at {place + length}."
            )
        return length

    def _check(self, name, item):
        """Returns the item; raises unless its type is known and its values fit into its bytes."""
        extra = {_FLOAT32: 0, _INT8: 0, _QUANTIZED: 4}
        if item.kind not in extra:
            raise self._damage(
                f"The type of {shortened(name)} must be one of {[hex(kind) for kind in extra]}. "
                f"Received: {hex(item.kind)}."
            )
        width = 4 if item.kind == _FLOAT32 else 1
        count = math.prod(item.shape) if item.shape else 0
        if min(item.shape, default=0) < 1 or count * width + extra[item.kind] > item.size:
            raise self._damage(
                f"Received: {shortened(name)} with shape {item.shape} in {item.size} bytes."
            )
        return item

    def names(self) -> Iterator[str]:
        """Returns the names of all tensors."""
        return (name for name in self._items if name != _SETTINGS)

    def num_values(self) -> int:
        """Returns the number of values in all tensors."""
        return sum(math.prod(self._items[name].shape) for name in self.names())

    def settings(self) -> dict[str, Any]:
        """Returns the settings of the model, which the file holds as YAML.

        Returns:
            Values by key.

        Raises:
            ValueError: If there are none, or they are not a YAML mapping.
            ImportError: If the package pyyaml is not installed.
        """
        if _SETTINGS not in self._items:
            raise self._damage(f"Received: no {_SETTINGS}.")
        item = self._items[_SETTINGS]
        text = self._bytes[item.start : item.start + item.size].split(b"\0", 1)[0]
        return parse_yaml(text, self.path)

    def read(self, name: str) -> np.ndarray:
        """Reads one tensor.

        Args:
            name: Name of the tensor.

        Returns:
            A float32 array, matrices as (in, out).
        """
        item = self._items[name]
        count = math.prod(item.shape)
        if item.kind == _FLOAT32:
            array = np.frombuffer(self._bytes, "<f4", count, item.start)
            return array.reshape(item.shape)
        if name.endswith("_Wt"):
            raise ValueError(
                f"`{name}` in {self.path} must be in float32; Marian does not say how its 8 bits "
                "are ordered. Received: an 8-bit matrix."
            )
        if item.kind == _INT8:
            raise self._damage(f"Received: raw bytes instead of a tensor for {name!r}.")
        numbers = np.frombuffer(self._bytes, np.int8, count, item.start).astype(np.float32)
        multiplier = np.frombuffer(self._bytes, "<f4", 1, item.start + count)
        # The reciprocal first, as in Marian: a quotient may differ in its last bit.
        numbers *= np.float32(1.0) / multiplier
        if name[-2:] == "_W" or name[-3:-1] == "_W":
            return numbers.reshape(item.shape[::-1]).T
        return numbers.reshape(item.shape)
