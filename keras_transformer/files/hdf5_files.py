"""HDF5 files of weights, which must store all of their arrays themselves."""

from __future__ import annotations

import math
import os
from typing import Any

import h5py

# Datasets may declare this many bytes or, if that is more, this multiple of the stored bytes.
_FREE_BYTES = 2**26
_EXPANSION = 20


def datasets_of(file: h5py.File, path: str | os.PathLike) -> dict[str, h5py.Dataset]:
    """Returns the datasets of an open HDF5 file by path, after checking that it stores them all.

    Keras's readers refuse links and external or virtual datasets as well, but only where a model
    asks for them, and allow much larger expansions.

    Args:
        file: The open file.
        path: Its path, for messages.

    Returns:
        The datasets, in the order of the file.

    Raises:
        ValueError: If there are soft or external links, groups that contain themselves, datasets
            stored in other files or with values other than numbers and texts, or if the datasets
            declare far more bytes than the file stores.

    Example:
        ```python
        with h5py.File("model.weights.h5") as file:
            shapes = {name: one.shape for name, one in datasets_of(file, "model.weights.h5").items()}
        ```
    """  # noqa: E501  # the example
    found: dict[str, h5py.Dataset] = {}
    seen: set[Any] = set()
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    while waiting:
        prefix, group = waiting.pop()
        for name in group:
            place = f"{prefix}{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _wrong(path, place, f"a link ({type(link).__name__})")
            entry = group[name]
            if isinstance(entry, h5py.Dataset):
                found[place] = entry
            elif isinstance(entry, h5py.Group):
                identity = h5py.h5o.get_info(entry.id).addr
                if identity in seen:
                    raise _wrong(path, place, "a group that occurs twice")
                seen.add(identity)
                waiting.append((f"{place}/", entry))
            else:
                raise _wrong(path, place, f"an entry of the type {type(entry).__name__}")
    _check_storage(found, path)
    return found


def _check_storage(datasets: dict[str, h5py.Dataset], path: str | os.PathLike) -> None:
    declared = stored = 0
    for place, dataset in datasets.items():
        if dataset.external or dataset.is_virtual:
            raise _wrong(path, place, "a dataset stored in other files")
        if dataset.shape is None or dataset.dtype.kind not in "biufSUV" or dataset.dtype.hasobject:
            if h5py.check_string_dtype(dataset.dtype) is None:
                raise _wrong(path, place, f"a dataset of the dtype {dataset.dtype!s:.200}")
        declared += math.prod(dataset.shape or ()) * dataset.dtype.itemsize
        stored += dataset.id.get_storage_size()
    if declared > max(_FREE_BYTES, _EXPANSION * stored):
        raise ValueError(
            f"`{path}` must be an intact HDF5 file. Received: datasets of {declared} bytes, "
            f"{stored} of them stored."
        )


def _wrong(path, place, what):
    return ValueError(
        f"`{path}` must store all of its arrays itself. Received: {what} at {place!r:.200}."
    )
