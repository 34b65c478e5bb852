"""Saving the state of a training run, so that it can be resumed after an interruption."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import keras

from keras_transformer.checks import check, check_above, check_positive, given
from keras_transformer.training.best_metric import check_monitor, is_better
from keras_transformer.training.built_optimizer import build_optimizer
from keras_transformer.training.finite_weights import first_not_finite
from keras_transformer.training.model_state import adapted_arrays, describe_state, random_seeds
from keras_transformer.training.run_state import (
    recall,
    restore_metrics,
    restore_random_states,
    run_arrays,
)
from keras_transformer.training.saved_states import SavedStates, check_batches


class SaveTraining(keras.callbacks.Callback):
    """Saves everything needed to resume training exactly, with `kt.training.load_training`.

    A state holds the model with its optimizer (with its step, its loss scale and accumulated
    gradients), the position in the batches, the metrics of the current epoch, the random states of
    dropout, and what Keras does not save with a model: frozen layers and weights, unmerged
    adapters, and penalties added by `add_l2`. A run that is killed and resumed ends with the same
    weights as one that was not: bit for bit on TensorFlow (with
    `tf.config.experimental.enable_op_determinism`) and JAX, up to rounding on torch.

    A state is saved after every epoch, even one that was stopped early, and every `every_steps`
    steps or `every_minutes` minutes. At any moment the folder contains complete states, even if the
    process is killed while it saves. If the disk is full, a warning names the file, the earlier
    states are kept, and training continues; the next state is saved when it is due. A state whose
    weights or optimizer contain NaN or infinity is not saved, and a warning says so.

    Pass `shuffle=False` to `fit`, which would otherwise shuffle the batches again in an order that
    cannot be resumed. The state of other callbacks (the clock of `TimeBudget`, the checkpoints of
    `CheckpointAveraging`, the patience of `EarlyStopping`) is not saved.

    Args:
        folder: The folder to save to; created if missing.
        batches: The batches passed to `fit`: `TranslationBatches`, `LanguageModelBatches`,
            `PackedBatches` or `TaskBatches` of `kt.data`.
        every_batches: The earlier name of `every_steps`.
        every_minutes: Wall-clock minutes after which to save within an epoch; None never does.
        every_steps: Number of training steps after which to save within an epoch; None never does.
        keep: Number of latest states to keep.
        monitor: Name of a metric in the `logs` of an epoch, such as "val_loss". The state after
            the epoch with its best value is kept as well, for `load_training(..., which="best")`.
        mode: "min" or "max", whether small or large values of `monitor` are better; "auto" decides
            by the name.

    Raises:
        ValueError: if `batches` cannot be resumed, a number is out of range, or `mode` is "auto"
            and the name of `monitor` does not tell which values are better.

    Example:
        >>> import tempfile, numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> lm.compile(**kt.training.gpt1_pretraining_recipe(total_steps=10, warmup_steps=1))
        >>> ids, folder = np.arange(1, 90), tempfile.mkdtemp()
        >>> batches = kt.data.LanguageModelBatches(ids, length=8, batch_size=4)
        >>> save = kt.training.SaveTraining(folder, batches, every_steps=1000, monitor="loss")
        >>> history = lm.fit(batches, epochs=1, shuffle=False, verbose=0, callbacks=[save])
        >>> again = kt.data.LanguageModelBatches(ids, length=8, batch_size=4)
        >>> lm, epoch = kt.training.load_training(folder, again)
        >>> save = kt.training.SaveTraining(folder, again, every_steps=1000, monitor="loss")
        >>> history = lm.fit(again, initial_epoch=epoch, epochs=2, shuffle=False, verbose=0,
        ...                  callbacks=[save])

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
        *,
        every_steps: int | None = None,
        keep: int = 1,
        monitor: str | None = None,
        mode: str = "auto",
    ) -> None:
        super().__init__()
        check_batches(batches)
        check_positive(**given(every_batches=every_batches, every_steps=every_steps), keep=keep)
        check_above(0, **given(every_minutes=every_minutes))
        check(
            every_steps is None or every_batches is None,
            "be given only if `every_batches`, its earlier name, is not",
            "every_steps",
            every_steps,
        )
        self.folder = Path(folder)
        self.batches = batches
        self.every_steps = every_steps if every_batches is None else every_batches
        self.every_minutes = every_minutes
        self.keep = keep
        self.monitor = monitor
        self.mode = check_monitor(monitor, mode)
        self._states = SavedStates(self.folder)
        self._resumed: Any = None
        self._epoch, self._last_batch = 0, -1
        self._state: dict[str, Any] | None = None
        self._restart()

    def _restart(self) -> None:
        self._steps_since, self._saved_at = 0, time.monotonic()

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock, and takes over the states of a resumed run."""
        self._state = None
        self._warned: set[str] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resumed = recall(self.model)
        if self._resumed is not None and self._resumed.folder == os.path.abspath(self.folder):
            self._states = SavedStates(self.folder, self._resumed.content, self.monitor)
        self._restart()
        build_optimizer(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Records the epoch number of `fit`."""
        self._epoch, self._last_batch = epoch, -1
        if self._resumed is not None and self._resumed.within_epoch:
            restore_metrics(self.model, self._resumed.arrays, self.batches)
        elif self._resumed is not None:
            self._restore_random_states()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Restores the random states within an epoch, after Keras has prepared the data."""
        if self._resumed is not None:
            self._restore_random_states()

    def _restore_random_states(self) -> None:
        restore_random_states(self._resumed.arrays)
        self._resumed = None

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Records the position in the batches, and saves if due."""
        # With steps_per_execution, the last index may lie beyond the end of the epoch.
        done = min(batch + 1, len(self.batches))
        self._state = self.batches.state(done, self.params["steps"])
        self._steps_since += batch - self._last_batch
        self._last_batch = batch
        minutes = (time.monotonic() - self._saved_at) / 60.0
        due = self.every_steps is not None and self._steps_since >= self.every_steps
        due = due or (self.every_minutes is not None and minutes >= self.every_minutes)
        # After the last batch, `on_epoch_end` saves a state that includes the validation.
        if due and not self._ends_epoch():
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves the state at the end of each epoch."""
        # By `on_train_end`, other callbacks may already have replaced the weights.
        if self._state is not None:
            value = None if self.monitor is None else (logs or {}).get(self.monitor)
            self._save(None if value is None else float(value))

    def on_train_end(self, logs: dict | None = None) -> None:
        """Warns if the monitored metric never occurred."""
        if self.monitor is not None and self._state is not None and self._states.best is None:
            warnings.warn(
                f"`monitor` must name a finite metric in the logs of `fit`. Received: monitor="
                f"{self.monitor!r}, with the logs {sorted(logs or {})}: no best state was kept.",
                stacklevel=2,
            )

    def _ends_epoch(self) -> bool:
        state = self._state or {}
        return 0 in (state["batch"], state["steps_left"])

    def _save(self, value: float | None = None) -> None:
        self._restart()
        # On JAX, where training keeps its state separately, reading `self.model` syncs the model.
        model = self.model
        bad = first_not_finite(model)
        if bad is not None:
            self._warn_once("finite", f"{bad} is not finite. Nothing in {self.folder} has changed.")
            return
        arrays = {**adapted_arrays(model), **run_arrays(model)}
        try:
            self._states.add(self._entry(model), model, arrays, self.keep, self._best(value))
            self._warned.clear()
        except OSError as error:
            self._warn_once("written", str(error))

    def _entry(self, model: keras.Model) -> dict[str, Any]:
        return {
            "state": describe_state(model),
            # The epoch for `fit` to start with: the next one if this one is complete.
            "initial_epoch": self._epoch + self._ends_epoch(),
            "batches": self._state,
            "seeds": [keras.ops.convert_to_numpy(seed).tolist() for seed in random_seeds(model)],
        }

    def _best(self, value: float | None) -> dict[str, Any] | None:
        """Describes the state as the best one, if it is."""
        earlier = self._states.best
        earlier = None if earlier is None else earlier["value"]
        if value is None or not is_better(value, earlier, self.mode):
            return None
        return {"monitor": self.monitor, "value": value}

    def _warn_once(self, what: str, problem: str) -> None:
        """Warns for the first of several states in a row that cannot be saved."""
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(
                f"SaveTraining did not save the state in epoch {self._epoch + 1}, and training "
                f"continues: {problem}",
                RuntimeWarning,
                stacklevel=2,
            )
