"""The tensors of a checkpoint folder, read one at a time without executing anything."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_SAFETENSORS, _TORCH = "model.safetensors", "pytorch_model.bin"


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Args:
        path: Path of the file.

    Returns:
        Its content.

    Raises:
        ValueError: If the file is missing or holds anything else.
    """
    if not path.is_file():
        raise ValueError(f"`folder` must contain the file {path.name}. Received: no {path}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{path}` must be a JSON file. Received: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"`{path}` must contain a JSON object. Received: {type(content).__name__}."
        )
    return content


class TensorFiles:
    """The tensors of a folder in the Hugging Face format.

    They are in `model.safetensors` or `pytorch_model.bin`, in one file or in shards with an index.

    Args:
        folder: The folder.

    Raises:
        ValueError: If there is no such file, a file is damaged, the index names a file outside the
            folder, or a `.bin` file holds more than tensors.
        ImportError: If the library that reads the file is not installed.
    """

    def __init__(self, folder: Path):
        self._files: dict[str, Any] = {}
        for path in _files_of(folder):
            opened = _open(path)
            for name in opened.names():
                if name in self._files:
                    raise ValueError(
                        f"`folder` must contain each tensor once. Received: {name!r} twice in "
                        f"{folder}."
                    )
                self._files[name] = opened

    def names(self) -> Iterator[str]:
        """Returns the names of all tensors."""
        return iter(self._files)

    def stored(self, name: str) -> np.ndarray:
        """Reads one tensor of any type, as stored."""
        return self._files[name].read(name)

    def read(self, name: str) -> np.ndarray:
        """Reads one floating-point tensor.

        Args:
            name: Name of the tensor.

        Returns:
            A float array; bfloat16 becomes float32.

        Raises:
            ValueError: If it does not hold floating-point numbers, or the file is damaged.
        """
        array = self.stored(name)
        if array.dtype.name == "bfloat16":  # not a NumPy float
            array = array.astype("float32")
        if not np.issubdtype(array.dtype, np.floating):
            raise ValueError(
                f"The tensor {name!r} must contain floating-point numbers. Received: {array.dtype}."
            )
        return array


def _files_of(folder):
    for whole in (_SAFETENSORS, _TORCH):
        if (folder / whole).is_file():
            return [folder / whole]
        index = folder / f"{whole}.index.json"
        if index.is_file():
            return _shards(folder, index)
    raise ValueError(
        f"`folder` must contain {_SAFETENSORS} or {_TORCH}, or their index. Received: {folder}."
    )


def _shards(folder, index):
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"`{index}` must contain a `weight_map`. Received: {weight_map!r}.")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or Path(name).suffix not in _READERS:
            raise ValueError(
                f"`{index}` must name only {' or '.join(_READERS)} files in its own folder. "
                f"Received: {name!r}."
            )
        if not (folder / name).is_file():
            raise ValueError(
                f"`folder` must contain the file {name}. Received: no {folder / name}."
            )
    return [folder / name for name in names]


class _Safetensors:
    def __init__(self, path):
        from safetensors import safe_open

        self.path = path
        with _damage(path):
            # Not memory-mapped: the pages would count as memory on top of the model.
            self.file = safe_open(path, framework="np", backend="pread")

    def names(self):
        return self.file.keys()

    def read(self, name):
        with _damage(self.path):
            return self.file.get_tensor(name)


class _Torch:
    def __init__(self, path):
        import torch

        def load(**options):
            return torch.load(path, map_location="cpu", weights_only=True, **options)

        self.path = path
        with _damage(path):
            try:
                self.tensors = load(mmap=True)
            except RuntimeError:  # the format before torch 1.6 cannot be memory-mapped
                self.tensors = load()
        if not isinstance(self.tensors, dict) or not all(
            isinstance(tensor, torch.Tensor) for tensor in self.tensors.values()
        ):
            raise ValueError(
                f"`{path}` must contain tensors by name, and nothing else. Received: other objects."
            )

    def names(self):
        return self.tensors.keys()

    def read(self, name):
        import torch

        tensor = self.tensors[name].detach()
        if tensor.dtype != torch.bfloat16:
            return tensor.numpy()
        import ml_dtypes

        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)


# The reader of each file extension, and what to install for it.
_READERS: dict[str, tuple[type, str]] = {
    ".safetensors": (_Safetensors, "the package safetensors: `pip install safetensors`"),
    ".bin": (_Torch, "torch: `pip install torch`, or convert the file to safetensors"),
}


def _open(path):
    reader, advice = _READERS[path.suffix]
    try:
        return reader(path)
    except ImportError as error:
        raise ImportError(f"Reading {path.name} requires {advice}.") from error


@contextlib.contextmanager
def _damage(path):
    """Turns any error inside the context into a ValueError about the file."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"`{path}` must be an intact file that holds only weights. Received: {error}."
        ) from error
