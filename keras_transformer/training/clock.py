"""Callbacks that train by the clock."""

import time

import keras


class StopAfter(keras.callbacks.Callback):
    """Ends training cleanly after a number of minutes.

    The clock starts when training begins, so that compiling the first step counts too. It is read
    after each batch and each epoch: the batch that is running when time is up is completed, then
    validation if there is any, then the callbacks' and `fit`'s usual end.

    Args:
        minutes: wall-clock minutes, more than 0; fractions are welcome.

    Raises:
        ValueError: if ``minutes`` is not more than 0.

    Example:
        >>> import keras_transformer as kt
        >>> kt.training.StopAfter(minutes=0.5).minutes
        0.5
    """

    def __init__(self, minutes: float) -> None:
        super().__init__()
        if not minutes > 0:
            raise ValueError(f"`minutes` must be more than 0. Received: minutes={minutes}")
        self.minutes = minutes
        self._deadline = float("inf")

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock."""
        self._deadline = time.monotonic() + 60.0 * self.minutes

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
    """Trains for a number of minutes, the learning rate falling to 0 as they run out.

    ``rate = peak * min(1, step / warmup_steps) * (1 - used)``

    where the peak is the number that the optimizer was compiled with, the steps count from 1, and
    ``used`` is the part of the budget that is used up: of the minutes or, where that is more, of
    the steps of all epochs. So the same line of code gets the most out of a slow machine, where a
    schedule over steps would be cut off in the middle, and out of a fast one. The clock starts when
    training begins, so that compiling the first step counts too; validation counts as well. The
    warm-up goes by steps: Adam's averages need so many, however long they take. Afterwards the
    optimizer has its peak rate again.

    Args:
        minutes: wall-clock minutes, more than 0; fractions are welcome.
        warmup_steps: steps over which the rate rises, at least 0.

    Raises:
        ValueError: if ``minutes`` or ``warmup_steps`` is out of range; when training begins, if the
            optimizer's learning rate is a schedule, which two cannot set.

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
                f"`warmup_steps` must be an integer >= 0. Received: warmup_steps={warmup_steps}"
            )
        self.warmup_steps = warmup_steps

    def factor(self, step: int, used: float) -> float:
        """Returns the part of the peak rate at which to train.

        Args:
            step: number of the training step, from 1.
            used: the part of the budget that is used up, in [0, 1].

        Returns:
            A number in [0, 1].
        """
        rising = min(1.0, step / max(self.warmup_steps, 1))
        return rising * max(1.0 - used, 0.0)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock, and notes the peak rate."""
        optimizer = self.model.optimizer
        self._peak = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        try:
            optimizer.learning_rate = self._peak
        except (TypeError, AttributeError) as error:
            raise ValueError(
                "`TimeBudget` sets the learning rate: the optimizer must have been given a number. "
                f"Received: learning_rate={optimizer.get_config()['learning_rate']}"
            ) from error
        self._epoch = 0
        self._steps_before_epoch = self._step = 0
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notes the epoch, to know how many of all steps are done."""
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
        """Gives the optimizer its peak rate back."""
        self.model.optimizer.learning_rate = self._peak

    def _minutes_used(self) -> float:
        return 1.0 - (self._deadline - time.monotonic()) / (60.0 * self.minutes)
