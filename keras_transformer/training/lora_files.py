"""Saving and loading adapters separately from the model."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.files import whole_file
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
    header, arrays = _read(Path(path))
    layers = dense_layers(model)
    weights = {weight.path: weight for weight in model.weights}
    _check(path, header, arrays, layers, weights)
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


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        raise ValueError(f"`path` must be a file. Received: path={str(path)!r}.")
    try:
        # Given a path, NumPy would leave a damaged file open.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop(_HEADER)))
        for entry in header.values():
            entry["rank"], entry["alpha"] = int(entry["rank"]), float(entry["alpha"])
            if entry["rank"] < 1 or not entry["alpha"] > 0:
                raise ValueError(f"invalid header entry {entry}.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"`path` must be a file written by `save_lora`. Received: path={str(path)!r} "
            f"({error!r})."
        ) from error
    return header, arrays


def _check(path, header, arrays, layers, weights):
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
        for name in arrays
        if name not in expected
    }
    for name, shape in expected.items():
        found = arrays[name].shape if name in arrays else None
        if shape is None or found != shape:
            raise ValueError(
                "`path` must contain adapters of the model's architecture. Received: "
                f"path={os.fspath(path)!r}, where {name!r} has shape {found}, but {shape} in "
                "the model."
            )
