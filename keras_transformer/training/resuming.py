"""Loading a training run that `SaveTraining` saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import check
from keras_transformer.files import file_in, is_listed, load_keras_model, naming_file, open_arrays
from keras_transformer.training.model_state import (
    check_adapters,
    compile_as_saved,
    random_seeds,
    read_config,
    restore_arrays,
    restore_state,
)
from keras_transformer.training.run_state import Resumed, remember
from keras_transformer.training.saved_states import (
    INDEX,
    check_batches,
    choose_state,
    read_index,
)


def load_training(folder: Any, batches: Any, which: str = "last") -> tuple[keras.Model, int]:
    """Loads the training state saved by `SaveTraining`, to resume exactly where it was saved.

    Resume with `model.fit(batches, initial_epoch=initial_epoch, epochs=..., shuffle=False)`, where
    `epochs` is the total of the original run: the first epoch is the rest of the interrupted one.
    Pass a new `SaveTraining` for the same folder: it continues to save there, and restores the
    metrics of the interrupted epoch and, on torch, the random state of dropout.

    The state may have been saved on another backend. All files are checked before anything changes,
    so an error leaves the position of `batches` unchanged.

    Args:
        folder: The folder of `SaveTraining`.
        batches: Batches of the same corpus with the same settings, of any shard; their position is
            set to that of the saved run.
        which: The state to load: "last"; "best", by the `monitor` of `SaveTraining`; or the name
            of any other that was kept, such as "model-2-0" for the start of the third epoch.

    Returns:
        The model, frozen, adapted and compiled as it was, with its optimizer's state, and
        `initial_epoch` for `fit`.

    Raises:
        ValueError: if the folder contains no training state, a damaged one, one of different
            batches, or none that is called `which`; the message names the file.
        FileNotFoundError: if a file of the state is missing.

    Example:
        See `SaveTraining`:

        >>> import keras_transformer as kt
        >>> callable(kt.training.load_training)
        True
    """
    check_batches(batches)
    content = read_index(folder)
    entry = choose_state(content, which, folder)
    arrays = _read_arrays(Path(folder), entry)
    model = _load_model(Path(folder), entry, arrays)
    with naming_file(Path(folder) / INDEX):
        batches.resume(entry["batches"])
    within_epoch = entry["batches"].get("steps_left") != 0 and entry["batches"].get("batch") != 0
    remember(model, Resumed(os.path.abspath(folder), content, arrays, within_epoch))
    return model, entry["initial_epoch"]


def _read_arrays(folder: Path, entry: dict[str, Any]) -> dict[str, np.ndarray]:
    name = entry["model"].removesuffix(".keras") + ".npz"
    # Older versions wrote this file only for models with adapters.
    is_missing = not is_listed(folder / name) and not entry.get("state", {}).get("adapters")
    if is_missing:
        return {}
    with open_arrays(file_in(folder, name)) as archive:
        return {name: archive.read(name) for name in archive.headers}


def _load_model(folder, entry, arrays):
    path, index = file_in(folder, entry["model"]), folder / INDEX
    config = read_config(path)
    model = load_keras_model(path)
    with naming_file(index):
        if "state" in entry:  # missing from files of older versions
            with naming_file(path.with_suffix(".npz")):  # either file may be damaged
                check_adapters(entry["state"], arrays)
            restore_state(model, entry["state"])
    with naming_file(path):
        compile_as_saved(model, path, config)
    with naming_file(path.with_suffix(".npz")):
        restore_arrays(model, arrays)
    with naming_file(index):
        seeds = random_seeds(model)
        shapes = [tuple(seed.shape) for seed in seeds], [(len(one),) for one in entry["seeds"]]
        check(shapes[0] == shapes[1], f"be {len(seeds)} pairs of integers", "seeds", entry["seeds"])
        for seed, value in zip(seeds, entry["seeds"], strict=True):
            seed.assign(np.array(value, seed.dtype))
    return model
