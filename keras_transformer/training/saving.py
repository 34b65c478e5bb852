"""Saving a training that may be interrupted, and going on with it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.training.model_state import (
    adapted_arrays,
    compile_as_saved,
    describe_state,
    restore_arrays,
    restore_state,
)

_STATE = "training.json"
_PATTERN = "model-*"


class SaveTraining(keras.callbacks.Callback):
    """Saves all that a training needs to go on exactly: `kt.training.load_training` loads it.

    In a folder: the model with its optimizer, which batch comes next, and what Keras does not save
    with a model: which layers and weights are frozen, adapters beside the weights that they adapt,
    penalties of `add_l2`, and the states of the random numbers that dropout drops by. (On torch,
    dropout draws from the numbers of the whole process, as do the iterators of every `fit`: there a
    training goes on with the same batches, but drops others, unless dropout is 0.) It is saved
    after every epoch, also one that was stopped, and every so many batches or minutes. The state
    names the files of its model and takes the place of the one before in a single step, so that
    whenever the process dies there is a whole training in the folder.

    Pass `shuffle=False` to `fit`: it would shuffle the batches once more, in an order that nobody
    can go on with. What other callbacks know (the clock of `TimeBudget`, the checkpoints of
    `CheckpointAveraging`) is not saved.

    Args:
        folder: where to save; made if it is not there.
        batches: what `fit` is given: `TranslationBatches`, `LanguageModelBatches`, `PackedBatches`
            or `TaskBatches` of `kt.data`.
        every_batches: also save after so many batches, or None.
        every_minutes: also save after so many wall-clock minutes, or None.

    Raises:
        ValueError: `batches` has no state, or a number is out of range.

    Example:
        >>> import tempfile, numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> lm.compile(**kt.training.gpt1_pretraining_recipe(total_steps=10, warmup_steps=1))
        >>> ids, folder = np.arange(1, 90), tempfile.mkdtemp()
        >>> batches = kt.data.LanguageModelBatches(ids, length=8, batch_size=4)
        >>> save = kt.training.SaveTraining(folder, batches, every_minutes=10)
        >>> history = lm.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[save])
        >>> again = kt.data.LanguageModelBatches(ids, length=8, batch_size=4)
        >>> lm, epoch = kt.training.load_training(folder, again)
        >>> history = lm.fit(again, initial_epoch=epoch, epochs=2, shuffle=False, verbose=0)
    """

    def __init__(
        self,
        folder: Any,
        batches: Any,
        every_batches: int | None = None,
        every_minutes: float | None = None,
    ) -> None:
        super().__init__()
        _check_batches(batches)
        if every_batches is not None and (not isinstance(every_batches, int) or every_batches < 1):
            raise ValueError(
                f"`every_batches` must be an integer >= 1. Received: every_batches={every_batches}"
            )
        if every_minutes is not None and not every_minutes > 0:
            raise ValueError(
                f"`every_minutes` must be more than 0. Received: every_minutes={every_minutes}"
            )
        self.folder = Path(folder)
        self.batches = batches
        self.every_batches = every_batches
        self.every_minutes = every_minutes
        self._epoch = 0
        self._state: dict[str, Any] | None = None
        self._restart()

    def _restart(self) -> None:
        self._batches_since, self._saved_at = 0, time.monotonic()

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock."""
        self._state = None
        self._restart()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notes the number that `fit` gives the epoch."""
        self._epoch, self._last_batch = epoch, -1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Notes where training stands, and saves it if that is due."""
        # With steps_per_execution the last of several batches may lie beyond the epoch's end.
        done = min(batch + 1, len(self.batches))
        self._state = self.batches.state(done, self.params["steps"])
        self._batches_since += batch - self._last_batch
        self._last_batch = batch
        minutes = (time.monotonic() - self._saved_at) / 60.0
        due = self.every_batches is not None and self._batches_since >= self.every_batches
        if due or (self.every_minutes is not None and minutes >= self.every_minutes):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves; not when training ends, where other callbacks may replace the weights."""
        if self._state is not None:
            self._save()

    def _save(self) -> None:
        state = self._state or {}
        # `self.model` brings the model up to date on JAX, where training keeps its state apart.
        model = self.model
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"model-{state['epoch']}-{state['batch']}.keras"
        part = self.folder / "unfinished.keras"
        model.save(part)
        os.replace(part, path)
        kept = {path, self._save_adapters(model, path)}
        content = {
            "model": path.name,
            "state": describe_state(model),
            # The epoch that `fit` is to begin with: the next one where this one is complete.
            "initial_epoch": self._epoch + (0 in (state["batch"], state["steps_left"])),
            "batches": state,
            "seeds": [keras.ops.convert_to_numpy(seed).tolist() for seed in _seeds(model)],
        }
        part = self.folder / f"{_STATE}.unfinished"
        part.write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, self.folder / _STATE)
        for old in self.folder.glob(_PATTERN):
            if old not in kept:
                old.unlink(missing_ok=True)
        self._restart()

    def _save_adapters(self, model, path):
        """Saves what adapters there are in a file beside the model's."""
        arrays: dict[str, Any] = adapted_arrays(model)
        if not arrays:
            return path
        part = self.folder / "unfinished.npz"
        np.savez(part, **arrays)
        os.replace(part, path.with_suffix(".npz"))
        return path.with_suffix(".npz")


def load_training(folder: Any, batches: Any) -> tuple[keras.Model, int]:
    """Loads what `SaveTraining` saved, to go on with `fit` exactly where it was saved.

    Go on with `model.fit(batches, initial_epoch=initial_epoch, epochs=..., shuffle=False)`, where
    `epochs` is that of the whole training: the first epoch is what was left of the interrupted one.

    Args:
        folder: the folder of `SaveTraining`.
        batches: batches of the same corpus with the same settings, in any shard of it; they are
            told where to begin.

    Returns:
        The model, frozen, adapted and compiled as it was, with its optimizer's state, and
        `initial_epoch` for `fit`.

    Raises:
        ValueError: there is no training in the folder, or it was of other batches.

    Example:
        See `SaveTraining`:

        >>> import keras_transformer as kt
        >>> callable(kt.training.load_training)
        True
    """
    _check_batches(batches)
    path = Path(folder) / _STATE
    if not path.is_file():
        raise ValueError(
            "`folder` must be one in which SaveTraining has saved a training. "
            f"Received: folder={os.fspath(folder)!r}, without {_STATE}"
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    batches.resume(content["batches"])
    path = Path(folder) / content["model"]
    model = keras.saving.load_model(path, compile=False)
    if "state" in content:  # which is not in the files of older versions
        restore_state(model, content["state"])
    compile_as_saved(model, path)
    if path.with_suffix(".npz").is_file():
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            restore_arrays(model, arrays)
    for seed, value in zip(_seeds(model), content["seeds"], strict=True):
        seed.assign(value)
    return model, content["initial_epoch"]


def _seeds(model: keras.Model) -> list[Any]:
    """The states of all random numbers of a model, in the order of its layers."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _check_batches(batches: Any) -> None:
    if not (hasattr(batches, "state") and hasattr(batches, "resume")):
        raise ValueError(
            "`batches` must know where they stand, as those of kt.data do. "
            f"Received: batches={batches!r}"
        )
