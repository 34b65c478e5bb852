"""Saving the state of a training run, and resuming it after an interruption."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import check_above, check_positive, given
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
    """Saves everything needed to resume training exactly, with `kt.training.load_training`.

    The folder holds the model with its optimizer, the position in the batches, and what Keras does
    not save with a model: frozen layers and weights, unmerged adapters, penalties added by
    `add_l2`, and the random states of dropout. (On torch, dropout draws from the process-wide
    random generator, as do the iterators of every `fit`: a resumed run sees the same batches but
    different dropout masks.) The state is saved after every epoch, even one that was stopped early,
    and every `every_batches` batches or `every_minutes` minutes. It names the model files it
    belongs to and replaces the previous one atomically, so that the folder always contains a
    complete state even if the process dies.

    Pass `shuffle=False` to `fit`, which would otherwise shuffle the batches again in an order that
    cannot be resumed. The state of other callbacks (the clock of `TimeBudget`, the checkpoints of
    `CheckpointAveraging`) is not saved.

    Args:
        folder: The folder to save to; created if missing.
        batches: The batches passed to `fit`: `TranslationBatches`, `LanguageModelBatches`,
            `PackedBatches` or `TaskBatches` of `kt.data`.
        every_batches: Number of batches after which to save within an epoch; None never does.
        every_minutes: Wall-clock minutes after which to save within an epoch; None never does.

    Raises:
        ValueError: if `batches` cannot be resumed, or a number is out of range.

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

    See Also:
        `kt.training.load_training` continues from it; `kt.training.CheckpointAveraging` averages
        weights.
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
        check_positive(**given(every_batches=every_batches))
        check_above(0, **given(every_minutes=every_minutes))
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
        """Records the epoch number of `fit`."""
        self._epoch, self._last_batch = epoch, -1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Records the position in the batches, and saves if due."""
        # With steps_per_execution, the last index may lie beyond the end of the epoch.
        done = min(batch + 1, len(self.batches))
        self._state = self.batches.state(done, self.params["steps"])
        self._batches_since += batch - self._last_batch
        self._last_batch = batch
        minutes = (time.monotonic() - self._saved_at) / 60.0
        due = self.every_batches is not None and self._batches_since >= self.every_batches
        if due or (self.every_minutes is not None and minutes >= self.every_minutes):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves the state at the end of each epoch."""
        # By `on_train_end`, other callbacks may already have replaced the weights.
        if self._state is not None:
            self._save()

    def _save(self) -> None:
        state = self._state or {}
        # On JAX, where training keeps its state separately, reading `self.model` syncs the model.
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
            # The epoch for `fit` to start with: the next one if this one is complete.
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
        """Saves any adapters next to the model file, and returns the last path written."""
        arrays: dict[str, Any] = adapted_arrays(model)
        if not arrays:
            return path
        part = self.folder / "unfinished.npz"
        np.savez(part, **arrays)
        os.replace(part, path.with_suffix(".npz"))
        return path.with_suffix(".npz")


def load_training(folder: Any, batches: Any) -> tuple[keras.Model, int]:
    """Loads the training state saved by `SaveTraining`, to resume exactly where it was saved.

    Resume with `model.fit(batches, initial_epoch=initial_epoch, epochs=..., shuffle=False)`, where
    `epochs` is the total of the original run: the first epoch is the rest of the interrupted one.

    Args:
        folder: The folder of `SaveTraining`.
        batches: Batches of the same corpus with the same settings, in any shard of it; their
            position is set to that of the saved run.

    Returns:
        The model, frozen, adapted and compiled as it was, with its optimizer's state, and
        `initial_epoch` for `fit`.

    Raises:
        ValueError: if the folder contains no training state, or that of different batches.

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
            "`folder` must contain a training state saved by SaveTraining. "
            f"Received: folder={os.fspath(folder)!r}, without {_STATE}."
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    batches.resume(content["batches"])
    path = Path(folder) / content["model"]
    model = keras.saving.load_model(path, compile=False)
    if "state" in content:  # missing from files of older versions
        restore_state(model, content["state"])
    compile_as_saved(model, path)
    if path.with_suffix(".npz").is_file():
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            restore_arrays(model, arrays)
    for seed, value in zip(_seeds(model), content["seeds"], strict=True):
        seed.assign(value)
    return model, content["initial_epoch"]


def _seeds(model: keras.Model) -> list[Any]:
    """Returns the random states of a model, in the order of its layers."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _check_batches(batches: Any) -> None:
    if not (hasattr(batches, "state") and hasattr(batches, "resume")):
        raise ValueError(
            "`batches` must have the methods `state` and `resume`, like those of kt.data. "
            f"Received: batches={batches!r}."
        )
