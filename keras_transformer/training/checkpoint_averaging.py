"""Checkpoint averaging as a callback."""

import os
from collections import deque
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transformer.training.built_optimizer import build_optimizer
from keras_transformer.training.weight_averages import (
    average_checkpoints,
    check_averaging,
    float64_mean,
    is_float,
)

__all__ = ["CheckpointAveraging", "average_checkpoints"]


class CheckpointAveraging(keras.callbacks.Callback):
    """Sets the weights to the average of the last checkpoints when training ends.

    ``w = (w_1 + ... + w_n) / n`` over the last ``num_checkpoints`` checkpoints, or all of them if
    there are fewer, summed in float64. Without any checkpoint the weights are unchanged. Integer
    variables keep their last value. The paper averages the last 5 checkpoints of its base models,
    written 10 minutes apart, and the last 20 of its big ones.

    Each call to `fit` starts over. The metrics that `fit` reports are computed before averaging:
    evaluate the model afterwards.

    Args:
        num_checkpoints: Number of most recent checkpoints to average, a positive integer.
        save_freq: ``"epoch"`` for a checkpoint after each epoch, or an integer number of training
            steps between checkpoints, counted across epochs.
        filepath: None to keep the checkpoints in memory (``num_checkpoints`` copies of the
            weights), or a template for the paths of `.weights.h5` files, with ``{step}`` or
            ``{epoch}`` in it, both counted from 1. Older files are deleted; the last
            ``num_checkpoints`` stay on disk. As always in Keras, the files include the optimizer's
            state.

    Raises:
        ValueError: if ``num_checkpoints`` or ``save_freq`` is out of range, or ``filepath`` does
            not name a new `.weights.h5` file for each checkpoint; when training begins, if the
            model has adapters and ``filepath`` is set, since files store only merged weights.

    Example:
        >>> import numpy as np, keras, keras_transformer as kt
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> averaging = kt.training.CheckpointAveraging(num_checkpoints=2, save_freq="epoch")
        >>> inputs, targets = np.ones((4, 3)), np.ones((4, 2))
        >>> history = model.fit(inputs, targets, epochs=3, verbose=0, callbacks=[averaging])

    See Also:
        `kt.training.average_checkpoints` averages files; `kt.training.SaveTraining` saves what an
        interrupted training needs.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 6.1.
    """

    def __init__(
        self,
        num_checkpoints: int = 5,
        save_freq: str | int = "epoch",
        filepath: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(num_checkpoints, int) or num_checkpoints < 1:
            raise ValueError(
                "`num_checkpoints` must be an integer >= 1. "
                f"Received: num_checkpoints={num_checkpoints}."
            )
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(
                f'`save_freq` must be "epoch" or an integer >= 1. Received: save_freq={save_freq}.'
            )
        self.num_checkpoints = num_checkpoints
        self.save_freq = save_freq
        self.filepath = None if filepath is None else os.fspath(filepath)
        self._check_filepath()
        self._restart()

    def _check_filepath(self) -> None:
        if self.filepath is None:
            return
        # {epoch} by itself does not distinguish checkpoints within an epoch.
        epochs = (1, 2) if self.save_freq == "epoch" else (1, 1)
        names = {self.filepath.format(epoch=epochs[i], step=i + 1) for i in range(2)}
        if len(names) < 2 or not self.filepath.endswith(".weights.h5"):
            raise ValueError(
                "`filepath` must end in .weights.h5 and contain {step}, or {epoch} with save_freq="
                f'"epoch". Received: filepath={self.filepath}, save_freq={self.save_freq}.'
            )

    def _restart(self) -> None:
        self._checkpoints: deque[Any] = deque()
        self._step = 0
        self._last_batch = -1
        self._epoch = 0
        self._steps_since_checkpoint = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Discards the checkpoints of an earlier `fit`."""
        if self.filepath is not None:
            check_averaging(self.model)
        self._restart()
        build_optimizer(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Records the epoch for file names."""
        self._epoch = epoch + 1
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Takes a checkpoint every ``save_freq`` steps."""
        # With steps_per_execution, Keras calls this once per group of steps, with the last index.
        new_steps = batch - self._last_batch
        self._last_batch = batch
        self._step += new_steps
        self._steps_since_checkpoint += new_steps
        if isinstance(self.save_freq, int) and self._steps_since_checkpoint >= self.save_freq:
            self._steps_since_checkpoint = 0
            self._take_checkpoint()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Takes a checkpoint if ``save_freq`` is ``"epoch"``."""
        if self.save_freq == "epoch":
            self._take_checkpoint()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Sets the model's weights to the average of the checkpoints."""
        if not self._checkpoints:
            return
        if self.filepath is not None:
            average_checkpoints(self.model, self._checkpoints)
            return
        for index, weight in enumerate(self._float_weights()):
            weight.assign(float64_mean(arrays[index] for arrays in self._checkpoints))
        self._checkpoints.clear()

    def _float_weights(self) -> list[Any]:
        # On JAX, reading `self.model` syncs its state: do so once per checkpoint, not per weight.
        return [weight for weight in self.model.weights if is_float(weight.dtype)]

    def _take_checkpoint(self) -> None:
        if self.filepath is None:
            # Drop the oldest first, so that memory never holds more than num_checkpoints copies.
            while len(self._checkpoints) >= self.num_checkpoints:
                self._checkpoints.popleft()
            # Copy: torch and NumPy share memory, and training continues.
            arrays = [np.array(keras.ops.convert_to_numpy(w)) for w in self._float_weights()]
            self._checkpoints.append(arrays)
            return
        path = Path(self.filepath.format(epoch=self._epoch, step=self._step))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.model.save_weights(path)
        self._checkpoints.append(path)
        while len(self._checkpoints) > self.num_checkpoints:
            self._checkpoints.popleft().unlink(missing_ok=True)
