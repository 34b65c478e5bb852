"""Callbacks that limit training by wall-clock time."""

import time

import keras

from keras_transformer.checks import check_above
from keras_transformer.training.built_optimizer import build_optimizer


class StopAfter(keras.callbacks.Callback):
    """Stops training after a number of minutes.

    The clock starts when training begins, so compiling the first step counts. It is checked after
    each batch and each epoch: when time is up, the current batch is completed, validation runs if
    there is any, and `fit` ends as usual.

    Args:
        minutes: Wall-clock minutes, > 0; may be fractional.

    Raises:
        ValueError: if ``minutes`` is not > 0.

    Example:
        >>> import keras_transformer as kt
        >>> kt.training.StopAfter(minutes=0.5).minutes
        0.5
    """

    def __init__(self, minutes: float) -> None:
        super().__init__()
        check_above(0, minutes=minutes)
        self.minutes = minutes
        self._deadline = float("inf")

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock."""
        self._deadline = time.monotonic() + 60.0 * self.minutes
        build_optimizer(self.model)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stops if time is up."""
        self._stop_if_due()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stops if validation has used up the time."""
        self._stop_if_due()

    def _stop_if_due(self) -> None:
        if time.monotonic() >= self._deadline:
            self.model.stop_training = True


class TimeBudget(StopAfter):
    """Trains for a fixed number of minutes, decaying the learning rate linearly to 0.

    ``rate = peak * min(1, step / warmup_steps) * (1 - used)``

    where ``peak`` is the learning rate the optimizer was compiled with, steps count from 1, and
    ``used`` is the fraction of the budget already spent: of the minutes, or of the steps of all
    epochs if that is larger. The same settings thus suit slow machines, where a schedule over steps
    would be cut off halfway, and fast ones. The clock starts when training begins, so compiling the
    first step counts, as does validation. Warmup is counted in steps because Adam's moment
    estimates need a number of updates, however long they take. After training, the learning rate
    is reset to the peak.

    Args:
        minutes: Wall-clock minutes, > 0; may be fractional.
        warmup_steps: Number of warmup steps, >= 0.

    Raises:
        ValueError: if ``minutes`` or ``warmup_steps`` is out of range; when training begins, if the
            optimizer's learning rate is a schedule.

    Example:
        >>> import numpy as np, keras, keras_transformer as kt
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
        >>> inputs, targets = np.ones((4, 3)), np.ones((4, 2))
        >>> budget = kt.training.TimeBudget(minutes=0.5)
        >>> history = model.fit(inputs, targets, epochs=3, verbose=0, callbacks=[budget])

    Reference:
        Li, Yumer and Ramanan 2020, "Budgeted Training: Rethinking Deep Neural Network Training
        Under Resource Constraints", section 4.
    """

    def __init__(self, minutes: float, warmup_steps: int = 0) -> None:
        super().__init__(minutes)
        if not isinstance(warmup_steps, int) or warmup_steps < 0:
            raise ValueError(
                f"`warmup_steps` must be an integer >= 0. Received: warmup_steps={warmup_steps}."
            )
        self.warmup_steps = warmup_steps

    def factor(self, step: int, used: float) -> float:
        """Returns the factor by which to multiply the peak learning rate.

        Args:
            step: Number of the training step, counted from 1.
            used: Fraction of the budget already spent, in [0, 1].

        Returns:
            A number in [0, 1].
        """
        rising = min(1.0, step / max(self.warmup_steps, 1))
        return rising * max(1.0 - used, 0.0)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock and records the peak learning rate."""
        optimizer = self.model.optimizer
        self._peak = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        try:
            optimizer.learning_rate = self._peak
        except (TypeError, AttributeError) as error:
            raise ValueError(
                "`TimeBudget` sets the learning rate: the optimizer's must be a number, not a "
                f"schedule. Received: learning_rate={optimizer.get_config()['learning_rate']}."
            ) from error
        self._epoch = 0
        self._steps_before_epoch = self._step = 0
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Records the epoch, to track the fraction of all steps completed."""
        self._epoch = epoch
        self._steps_before_epoch = self._step

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Sets the learning rate."""
        used = self._minutes_used()
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        if steps and epochs:
            used = max(used, (self._epoch * steps + batch) / (epochs * steps))
        self._step = self._steps_before_epoch + batch + 1
        self.model.optimizer.learning_rate = self._peak * self.factor(self._step, used)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Stops if time is up."""
        self._step = self._steps_before_epoch + batch + 1
        super().on_train_batch_end(batch, logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Resets the learning rate to its peak."""
        self.model.optimizer.learning_rate = self._peak

    def _minutes_used(self) -> float:
        return 1.0 - (self._deadline - time.monotonic()) / (60.0 * self.minutes)
