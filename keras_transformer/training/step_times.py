"""Measuring the steps of `fit` on one batch."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any, NamedTuple

import keras

# The first step compiles, and the second may compile again for what the first one returned.
_WARMUP = 2


class StepTime(NamedTuple):
    """How long a training step takes with some arguments of `compile`.

    Attributes:
        arguments: The arguments, by name.
        milliseconds: Median time of a step, from the end of one to the end of the next; None if it
            was not measured.
        first_seconds: Time until the end of the first step (with `steps_per_execution`, of the
            first group of steps), including compilation; None if it was not measured.
        num_steps: Number of steps in the measurement.
        problem: Why there is no measurement; None if there is one.

    Example:
        >>> import keras_transformer as kt
        >>> kt.training.StepTime({"jit_compile": True}, 3.5, 2.0, 10).milliseconds
        3.5
    """

    arguments: dict[str, Any]
    milliseconds: float | None = None
    first_seconds: float | None = None
    num_steps: int = 0
    problem: str | None = None


class _Repeated(keras.utils.PyDataset):
    """One batch, over and over."""

    def __init__(self, batch: tuple, length: int) -> None:
        super().__init__()
        self.batch, self.length = batch, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple:
        return self.batch


class _Clock(keras.callbacks.Callback):
    """Records when executions end, and stops after enough of them or when time is up.

    Keras reads the loss before it calls this, as it does for its progress bar, so that the work of
    the accelerator has ended.
    """

    def __init__(self, num_executions: int, deadline: float) -> None:
        super().__init__()
        self.num_executions, self.deadline = num_executions, deadline
        self.times: list[float] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.times.append(time.perf_counter())

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.times.append(time.perf_counter())
        measured = len(self.times) - 1 - _WARMUP
        late = measured >= 1 and self.times[-1] >= self.deadline
        if measured >= self.num_executions or late:
            self.model.stop_training = True


def time_steps(
    model: keras.Model,
    batch: tuple,
    arguments: dict[str, Any],
    num_steps: int,
    deadline: float,
) -> StepTime:
    """Trains a model on a batch with other compile arguments, and measures the steps.

    Args:
        model: A compiled model; its weights and compile settings change.
        batch: `(inputs, labels)` or `(inputs, labels, sample_weight)`.
        arguments: `jit_compile` and `steps_per_execution`.
        num_steps: Number of steps to measure, rounded up to a multiple of `steps_per_execution`.
        deadline: Value of `time.perf_counter()` at which to stop after the current step.

    Returns:
        The times.
    """
    at_once = arguments["steps_per_execution"]
    num_executions = -(-num_steps // at_once)
    model.run_eagerly = False
    model.jit_compile = arguments["jit_compile"]
    model.steps_per_execution = at_once
    model.train_function = None
    clock = _Clock(num_executions, deadline)
    # One execution more than needed, so that `stop_training` is what ends the training.
    data = _Repeated(batch, (_WARMUP + num_executions + 1) * at_once)
    model.fit(data, shuffle=False, verbose=0, callbacks=[clock])
    start, *ends = clock.times
    between = [end - begin for begin, end in itertools.pairwise(ends[_WARMUP - 1 :])]
    return StepTime(
        arguments,
        milliseconds=1000.0 * statistics.median(between) / at_once,
        first_seconds=ends[0] - start,
        num_steps=len(between) * at_once,
    )
