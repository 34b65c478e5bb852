"""Averages of saved weights."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_transformer.files import datasets_of, naming_file, open_archive, regular_file
from keras_transformer.training.lora import dense_layers

_WEIGHTS = "model.weights.h5"


def is_float(dtype: Any) -> bool:
    """Returns whether values of this dtype are averaged; counters and seed states are not."""
    return keras.backend.standardize_dtype(dtype) in ("float16", "bfloat16", "float32", "float64")


def float64_mean(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Returns the mean of arrays of the same shape, summed in float64 one at a time."""
    total, count = np.zeros((), "float64"), 0
    for array in arrays:
        total = total + array
        count += 1
    return total / count


def _saved_arrays(file: h5py.File, filepath: Any) -> dict[str, h5py.Dataset]:
    """Returns the datasets of a weights file by path, without the optimizer's state."""
    found = datasets_of(file, filepath)
    return {path: one for path, one in found.items() if path.split("/")[0] != "optimizer"}


def _read(dataset: h5py.Dataset) -> np.ndarray:
    """Returns a dataset's values; Keras stores bfloat16 as raw bytes with a dtype attribute."""
    values = dataset[()]
    if dataset.attrs.get("dtype") == "bfloat16":
        return values.view(ml_dtypes.bfloat16)
    return values


def _weights_file(filepath: Any, folder: str, index: int) -> str:
    """Returns the path of the HDF5 file behind ``filepath``, unpacked from a `.keras` archive."""
    path = os.fspath(filepath)
    if not path.endswith(".keras"):
        return os.fspath(regular_file(path))
    unpacked = os.path.join(folder, f"{index}.weights.h5")
    with open_archive(path) as archive, archive.open(_WEIGHTS) as source:
        with open(unpacked, "wb") as target:
            shutil.copyfileobj(source, target)
    return unpacked


def _check_same_architecture(filepath: Any, found: dict, expected: dict) -> None:
    """Raises if a checkpoint's arrays differ from the model's in name or shape."""
    for path in sorted(set(found) | set(expected)):
        saved = found[path].shape if path in found else None
        own = expected[path].shape if path in expected else None
        if saved != own:
            raise ValueError(
                "`filepaths` must contain checkpoints of the model's architecture. "
                f"Received: filepaths with {os.fspath(filepath)!r}, where {path!r} has shape "
                f"{saved}, but {own} in the model."
            )


def check_averaging(model: keras.Model) -> None:
    """Raises if a model has adapters, since weight files store only merged weights."""
    adapted = [path for path, layer in dense_layers(model).items() if layer.lora_enabled]
    if adapted:
        raise ValueError(
            "`model` must have no adapters: weight files store only merged weights, so loading "
            "their average would set the adapters to zero. Average in memory "
            "(`CheckpointAveraging` without `filepath`), or call `merge_lora` first. "
            f"Received: adapters in {adapted[0]}."
        )


def average_checkpoints(model: keras.Model, filepaths: Iterable[Any]) -> None:
    """Sets a model's weights to the average of saved checkpoints.

    ``w = (w_1 + ... + w_n) / n``, summed in float64. Integer variables, such as counters and seed
    states, are taken from the last file. The model keeps its own optimizer state. Files are read
    one array at a time, and the model changes only after all of them have been read: if anything
    fails, its weights are unchanged.

    Args:
        model: A built `keras.Model` with the architecture of the checkpoints.
        filepaths: Paths of `.weights.h5` or `.keras` files.

    Raises:
        ValueError: if ``filepaths`` is empty, a file is missing, unreadable or from another
            architecture (the message names the file), or the model has adapters.

    Example:
        >>> import os, tempfile, keras, keras_transformer as kt
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> folder = tempfile.mkdtemp()
        >>> paths = [os.path.join(folder, f"{value}.weights.h5") for value in (1.0, 4.0)]
        >>> for path, value in zip(paths, (1.0, 4.0)):
        ...     model.layers[0].bias.assign([value]) and None
        ...     model.save_weights(path)
        >>> kt.training.average_checkpoints(model, paths)
        >>> model.layers[0].get_weights()[1].tolist()
        [2.5]

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 6.1.
    """
    filepaths = list(filepaths)
    if not filepaths:
        raise ValueError(
            f"`filepaths` must name at least one file. Received: filepaths={filepaths}."
        )
    check_averaging(model)
    with tempfile.TemporaryDirectory() as folder:
        # Write the average over a save of this model, so that only one complete file is loaded.
        average_path = os.path.join(folder, "average.weights.h5")
        model.save_weights(average_path)
        files: list[h5py.File] = []
        try:
            with h5py.File(average_path, "r+") as average_file:
                average = _saved_arrays(average_file, average_path)
                checkpoints = []
                for index, filepath in enumerate(filepaths):
                    checkpoints.append(_open_checkpoint(filepath, folder, index, files))
                    _check_same_architecture(filepath, checkpoints[-1], average)
                _write_average(average, checkpoints, filepaths)
        finally:
            for file in files:
                file.close()
        model.load_weights(average_path)


def _open_checkpoint(
    filepath: Any, folder: str, index: int, files: list[h5py.File]
) -> dict[str, h5py.Dataset]:
    """Opens a checkpoint, appends it to ``files`` for closing, and returns its arrays."""
    with _readable(filepath):
        files.append(h5py.File(_weights_file(filepath, folder, index), "r"))
        return _saved_arrays(files[-1], filepath)


@contextlib.contextmanager
def _readable(filepath: Any) -> Iterator[None]:
    """Turns errors while reading a checkpoint into a ValueError that names it."""
    try:
        with naming_file(filepath):
            yield
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(
            "`filepaths` must name readable .weights.h5 or .keras files. "
            f"Received: filepaths with {str(filepath)!r} ({error})."
        ) from error


def _write_average(
    average: dict[str, h5py.Dataset], checkpoints: list[dict], filepaths: list[Any]
) -> None:
    """Overwrites the arrays in ``average`` with their means over ``checkpoints``."""

    def values(path: str, index: int) -> np.ndarray:
        with _readable(filepaths[index]):
            array = _read(checkpoints[index][path])
            if is_float(array.dtype) != is_float(own.dtype):
                raise ValueError(f"{path!r} has the dtype {array.dtype}, not {own.dtype}")
            return array

    for path, dataset in average.items():
        own = _read(dataset)
        if is_float(own.dtype):
            result = float64_mean(values(path, index) for index in range(len(checkpoints)))
        else:
            result = values(path, len(checkpoints) - 1)
        dataset[...] = result.astype(own.dtype).view(dataset.dtype)
