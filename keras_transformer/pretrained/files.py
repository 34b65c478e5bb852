"""The tensors of a checkpoint folder, read one at a time without executing anything."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_transformer import files
from keras_transformer.checks import shortened
from keras_transformer.files import file_in, is_listed, naming_file, open_archive

_SAFETENSORS, _TORCH = "model.safetensors", "pytorch_model.bin"


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object from a file of a checkpoint, see `keras_transformer.files`.

    Args:
        path: Path of the file, inside its folder.

    Returns:
        Its content.

    Raises:
        ValueError: If the file is missing or holds anything else.
    """
    if not is_listed(path):
        raise ValueError(f"`folder` must contain the file {path.name}. Received: no {path}.")
    return files.read_json(file_in(path.parent, path.name))


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
        self.paths = _files_of(folder)
        for path in self.paths:
            opened = _open(path)
            for name in opened.names():
                if name in self._files:
                    raise ValueError(
                        f"`folder` must contain each tensor once. Received: {shortened(name)} "
                        f"twice in {folder}."
                    )
                self._files[name] = opened

    def names(self) -> Iterator[str]:
        """Returns the names of all tensors."""
        return iter(self._files)

    def num_values(self) -> int:
        """Returns the number of values in all tensors."""
        return sum(opened.num_values() for opened in {*self._files.values()})

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
                f"The tensor {shortened(name)} must contain floating-point numbers. "
                f"Received: {array.dtype}."
            )
        return array


def _files_of(folder):
    for whole in (_SAFETENSORS, _TORCH):
        if is_listed(folder / whole):
            return [file_in(folder, whole)]
        index = folder / f"{whole}.index.json"
        if is_listed(index):
            return _shards(folder, index)
    raise ValueError(
        f"`folder` must contain {_SAFETENSORS} or {_TORCH}, or their index. Received: {folder}."
    )


def _shards(folder, index):
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(
            f"`{index}` must contain a `weight_map`. Received: {shortened(weight_map)}."
        )
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or Path(name).suffix not in _READERS:
            raise ValueError(
                f"`{index}` must name only {' or '.join(_READERS)} files in its own folder. "
                f"Received: {shortened(name)}."
            )
        if not is_listed(folder / name):
            raise ValueError(
                f"`folder` must contain the file {name}. Received: no {folder / name}."
            )
    return [file_in(folder, name) for name in names]


class _Safetensors:
    def __init__(self, path):
        from safetensors import safe_open

        self.path = path
        with _damage(path):
            # Not memory-mapped: the pages would count as memory on top of the model.
            self.file = safe_open(path, framework="np", backend="pread")
            # safetensors has compared these shapes with the number of bytes.
            self.shapes = {one: self.file.get_slice(one).get_shape() for one in self.file.keys()}

    def names(self):
        return self.shapes.keys()

    def num_values(self):
        return sum(map(math.prod, self.shapes.values()))

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
            if zipfile.is_zipfile(path):
                with open_archive(path):  # torch unpacks without limits
                    pass
            try:
                self.tensors = load(mmap=True)
            except RuntimeError:  # the format before torch 1.6 cannot be memory-mapped
                self.tensors = load()
        if not isinstance(self.tensors, dict) or not all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor)
            for name, tensor in self.tensors.items()
        ):
            raise ValueError(
                f"`{path}` must contain tensors by name, and nothing else. Received: other objects."
            )
        for name, tensor in self.tensors.items():
            if not _is_plain(tensor):
                raise ValueError(
                    f"`{path}` must contain plain dense tensors. Received: {shortened(name)} of "
                    f"the shape {tuple(tensor.shape)} and the layout {tensor.layout}."
                )

    def names(self):
        return self.tensors.keys()

    def num_values(self):
        return min(
            sum(tensor.numel() for tensor in self.tensors.values()), os.stat(self.path).st_size
        )

    def read(self, name):
        import torch

        with _damage(self.path):
            tensor = self.tensors[name].detach()
            if tensor.dtype != torch.bfloat16:
                return tensor.numpy()
            import ml_dtypes

            return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)


def _is_plain(tensor):
    """Whether a tensor has a value in memory for each element: none is sparse or expanded."""
    import torch

    is_dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_dense or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


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


def _damage(path):
    return naming_file(path, "be an intact file that holds only weights")
