"""Saving and loading adapters separately from the model."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import is_integer, is_number, shortened
from keras_transformer.files import is_listed, naming_file, open_arrays, parse_json, whole_file
from keras_transformer.training.lora import (
    adapted_layers,
    attach,
    check_not_adapted,
    dense_layers,
)

_HEADER = "keras_transformer_lora"
_PARTS = ("lora_kernel_a", "lora_kernel_b")


def save_lora(model: keras.Model, path: str | os.PathLike) -> None:
    """Saves the adapters of a model and the other weights trained with them (the head's).

    Writes a `.npz` file of plain arrays, small compared to the model: rank 8 on query and value is
    0.25% of GPT-1.

    Args:
        model: A model adapted by `enable_lora` or `load_lora`.
        path: The file to write, ending in `.npz`.

    Raises:
        ValueError: if the model has no adapters, or `path` does not end in `.npz`.
        OSError: if the disk is full or refuses the write; an earlier file is unchanged.

    Example:
        ```python
        kt.training.enable_lora(model, rank=8)
        model.compile(**kt.training.gpt1_finetuning_recipe(total_steps=3 * len(batches)))
        model.fit(batches, epochs=3)
        kt.training.save_lora(model, "adapters.npz")
        ```

    Reference:
        Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"`path` must end in .npz. Received: path={str(path)!r}.")
    layers = adapted_layers(model)
    header = {
        name: {"rank": layer.lora_rank, "alpha": layer.lora_alpha} for name, layer in layers.items()
    }
    arrays = {weight.path: _array(weight) for weight in model.trainable_weights}
    # Include adapters that have been frozen since.
    arrays |= {
        f"{name}/{part}": _array(getattr(layer, part))
        for name, layer in layers.items()
        for part in _PARTS
    }
    content: dict[str, Any] = {_HEADER: np.array(json.dumps(header)), **arrays}
    with whole_file(path) as work:
        np.savez(work, **content)


def load_lora(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads the adapters and other weights saved by `save_lora` into a model.

    Everything else is frozen, as after `enable_lora`; compile the model to continue training. The
    file is read as plain arrays, and nothing in it is executed. If loading fails, the model is
    unchanged.

    Args:
        model: A model without adapters, of the same architecture as the one whose adapters were
            saved. For the same outputs it needs the same base weights too.
        path: The `.npz` file.

    Raises:
        ValueError: if the model already has adapters, the file is missing or damaged, or it belongs
            to a model of another architecture.

    Example:
        ```python
        model = kt.models.classifier(lm, num_classes=2)  # lm as it was before training
        kt.training.load_lora(model, "adapters.npz")
        ```

    Reference:
        Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.
    """
    check_not_adapted(model)
    header, shapes = _read(Path(path))
    layers = dense_layers(model)
    weights = {weight.path: weight for weight in model.weights}
    # Before the arrays are read: a small file may unpack to a large array.
    _check(path, header, shapes, layers, weights)
    arrays = _read_arrays(Path(path), shapes)
    own = {f"{name}/{part}" for name in header for part in _PARTS}
    kept = [weights[name] for name in arrays if name not in own]
    attach(model, {name: (entry["rank"], entry["alpha"]) for name, entry in header.items()}, kept)
    for name, array in arrays.items():
        if name in own:
            layer, _, part = name.rpartition("/")
            getattr(layers[layer], part).assign(array)
        else:
            weights[name].assign(array)


def _array(weight: Any) -> np.ndarray:
    # NumPy files do not support bfloat16.
    return keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Returns the ranks and factors of a file, and the shapes of its arrays."""
    if not is_listed(path):
        raise ValueError(f"`path` must be a file. Received: path={str(path)!r}.")
    with _written_by_save_lora(path), open_arrays(path) as archive:
        headers = dict(archive.headers)
        text = archive.read(_HEADER) if headers.pop(_HEADER, None) else np.zeros(0)
        if text.ndim or text.dtype.kind != "U":
            raise ValueError(f"no text {_HEADER!r}")
        entries = parse_json(str(text), path)
        for name, entry in entries.items():
            rank, alpha = entry["rank"], entry["alpha"]
            if not is_integer(rank) or rank < 1 or not is_number(alpha) or not alpha > 0:
                raise ValueError(f"{shortened(name)} with {shortened(entry)}")
        for name, header in headers.items():
            if header.dtype.kind != "f":
                raise ValueError(f"{shortened(name)} of the dtype {header.dtype}")
    return entries, {name: header.shape for name, header in headers.items()}


@contextlib.contextmanager
def _written_by_save_lora(path: Path) -> Iterator[None]:
    try:
        with naming_file(path):
            yield
    except ValueError as error:
        raise ValueError(
            f"`path` must be a file written by `save_lora`. Received: path={str(path)!r} ({error})."
        ) from error


def _read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    with _written_by_save_lora(path), open_arrays(path) as archive:
        return {name: archive.read(name) for name in names}


def _check(path, header, found, layers, weights):
    """Raises unless every array in a file matches a weight of the model."""
    expected: dict[str, tuple[int, ...] | None] = {}
    for name, entry in header.items():
        if name in layers:
            rows, columns = layers[name].kernel.shape
            shapes = ((rows, entry["rank"]), (entry["rank"], columns))
            expected |= {
                f"{name}/{part}": shape for part, shape in zip(_PARTS, shapes, strict=True)
            }
        else:
            expected |= {f"{name}/{part}": None for part in _PARTS}
    expected |= {
        name: tuple(weights[name].shape) if name in weights else None
        for name in found
        if name not in expected
    }
    for name, shape in expected.items():
        if shape is None or found.get(name) != shape:
            raise ValueError(
                "`path` must contain adapters of the model's architecture. Received: "
                f"path={os.fspath(path)!r}, where {name!r:.200} has shape {found.get(name)}, "
                f"but {shape} in the model."
            )
