"""Choosing the arguments of `compile` by measuring training steps."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from keras_transformer.checks import (
    check,
    check_above,
    check_flag,
    check_integer,
    check_positive,
    shortened,
)
from keras_transformer.training.step_times import StepTime, time_steps
from keras_transformer.training.trial_run import trial_run

# Closer times are equal: they vary as much from run to run.
_FASTER = 0.97


class Tuning(NamedTuple):
    """Times of a training step with different arguments of `compile`.

    Attributes:
        best: The arguments to pass to `compile`, by name.
        times: A `StepTime` for each choice, the model's own settings first.

    Example:
        >>> import keras_transformer as kt
        >>> slow = kt.training.StepTime({"jit_compile": False}, 20.0, 0.5, 10)
        >>> fast = kt.training.StepTime({"jit_compile": True}, 12.5, 31.0, 10)
        >>> print(kt.training.Tuning(fast.arguments, (slow, fast)))
        | compile arguments | ms per step | first step, s | |
        |---|---|---|---|
        | jit_compile=False | 20.0 | 0.5 | |
        | jit_compile=True | 12.5 | 31.0 | best |
    """

    best: dict[str, Any]
    times: tuple[StepTime, ...]

    def __str__(self) -> str:
        """Returns the times as a Markdown table."""
        head = ["| compile arguments | ms per step | first step, s | |", "|---|---|---|---|"]
        return "\n".join(head + [self._row(one) for one in self.times])

    def _row(self, one: StepTime) -> str:
        name = ", ".join(f"{name}={value}" for name, value in one.arguments.items())
        if one.milliseconds is None:
            return f"| {name} | | | {one.problem} |"
        mark = " best" if one.arguments == self.best else ""
        return f"| {name} | {one.milliseconds:.1f} | {one.first_seconds:.1f} |{mark} |"


def tune(
    model: keras.Model,
    batch: tuple,
    seconds: float = 120.0,
    *,
    num_steps: int = 20,
    jit_compile: Sequence[bool] | None = None,
    steps_per_execution: Sequence[int] = (1, 8),
    verbose: int = 1,
) -> Tuning:
    """Measures which arguments of `compile` make training steps fastest on this machine.

    Runs a few steps of `fit` on one batch, first with the model's own settings, then with other
    values of `jit_compile`, and, with the best of them, with several batches per call of the
    compiled step (`steps_per_execution`; not on torch). A choice counts as better if it saves at
    least 3%.

    The model is left as it was: weights, optimizer, random states, metrics and compile settings.
    Meanwhile, a copy of their values takes as much main memory as they do on the device. To apply
    the result, pass `**tuning.best` to `compile` with the model's own optimizer, which keeps its
    state, or use it when you compile the model the next time. With `steps_per_execution=8`, Keras
    calls callbacks only after every 8 batches.

    Args:
        model: A compiled model.
        batch: `(inputs, labels)` or `(inputs, labels, sample_weight)` as for `fit`, such as
            `batches[0]` of the batches of `kt.data`. Compilation and speed depend on its shape, so
            use a typical one.
        seconds: Time limit. When it is up, the current step is completed, and further choices are
            not measured. A compilation cannot be interrupted, so it may take longer.
        num_steps: Number of steps to measure for each choice.
        jit_compile: The values to choose from besides the model's own. None for False and True on
            TensorFlow (XLA), only True on JAX, where steps that are not compiled are many times
            slower, and no others on torch, where `torch.compile` may take minutes: pass
            `(False, True)` to try it.
        steps_per_execution: The numbers of batches per call to choose from.
        verbose: 1 shows a progress bar.

    Returns:
        A `Tuning`. Printed, it is a table.

    Raises:
        ValueError: if `model` is not compiled or has no weights yet, if it cannot be trained on
            `batch`, or if another argument is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> recipe = kt.training.gpt1_pretraining_recipe(total_steps=10, warmup_steps=1)
        >>> lm.compile(**recipe)
        >>> batches = kt.data.LanguageModelBatches(np.arange(1, 90), length=8, batch_size=4)
        >>> tuning = kt.training.tune(
        ...     lm, batches[0], num_steps=2, jit_compile=[lm.jit_compile], verbose=0)
        >>> sorted(tuning.best)
        ['jit_compile', 'steps_per_execution']
        >>> lm.compile(**recipe, **tuning.best)
    """
    check_above(0, seconds=seconds)
    check_positive(num_steps=num_steps)
    check_integer(0, verbose=verbose)
    _check_choices(jit_compile, steps_per_execution)
    _check_model(model)
    _check_batch(batch)
    start = time.perf_counter()
    measured = _Measured(model, tuple(batch), num_steps, start, seconds)
    own = {"jit_compile": model.jit_compile, "steps_per_execution": model.steps_per_execution}
    flags = _flags(model, jit_compile)
    sizes = _sizes(model, steps_per_execution)
    number = len(flags) + len(sizes)
    progress = keras.utils.Progbar(number, verbose=verbose, unit_name="choice")
    for flag in flags:
        measured.add({**own, "jit_compile": flag}, number)
        progress.update(len(measured.times))
    best = measured.best()
    for size in sizes:
        measured.add({**best, "steps_per_execution": size}, number)
        progress.update(len(measured.times))
    return Tuning(measured.best(), tuple(measured.times))


class _Measured:
    """The times so far, and what is needed to measure more."""

    def __init__(self, model, batch, num_steps, start, seconds):
        self.model, self.batch, self.num_steps = model, batch, num_steps
        self.start, self.seconds = start, seconds
        self.times: list[StepTime] = []

    def add(self, arguments: dict[str, Any], number: int) -> None:
        """Measures one of `number` choices, with its share of the time that is left."""
        now = time.perf_counter()
        left = self.start + self.seconds - now
        if left <= 0 and self.times:
            self.times.append(StepTime(arguments, problem="not measured: the time was up"))
            return
        deadline = now + left / (number - len(self.times))
        with trial_run(self.model):
            try:
                one = time_steps(self.model, self.batch, arguments, self.num_steps, deadline)
            except Exception as error:  # out of memory, no compiler, an operation that XLA lacks
                # Only its text: the error itself would keep the tensors of the step alive.
                first_line = str(error).strip().partition("\n")[0]
                problem = f"{type(error).__name__}: {shortened(first_line, 120)}"
                one = StepTime(arguments, problem=problem)
        self.times.append(one)

    def best(self) -> dict[str, Any]:
        """Returns the fastest arguments; earlier ones unless later ones are clearly faster."""
        found, fastest = None, math.inf
        for one in self.times:
            if one.milliseconds is not None and one.milliseconds < _FASTER * fastest:
                found, fastest = one, one.milliseconds
        if found is None:
            raise ValueError(
                "`batch` must be a batch that `model.fit` can train on. "
                f"Received: a batch for which it raises {self.times[0].problem}"
            )
        return found.arguments


def _flags(model, jit_compile) -> list[bool]:
    """Returns the values of `jit_compile` to measure, the model's own first."""
    own, backend = bool(model.jit_compile), keras.backend.backend()
    if not all(layer.supports_jit for layer in model.layers):
        return [own]
    if backend == "tensorflow" and model.distribute_strategy.num_replicas_in_sync > 1:
        return [own]  # where Keras does not use XLA
    if jit_compile is None:
        jit_compile = {"tensorflow": (False, True), "jax": (True,)}.get(backend, ())
    return list(dict.fromkeys([own, *jit_compile]))


def _sizes(model, steps_per_execution) -> list[int]:
    """Returns the values of `steps_per_execution` to measure besides the model's own."""
    if keras.backend.backend() == "torch":  # where Keras accepts only 1
        return []
    sizes = dict.fromkeys(steps_per_execution)
    return [size for size in sizes if size != model.steps_per_execution]


def _check_choices(jit_compile, steps_per_execution) -> None:
    flags = () if jit_compile is None else jit_compile
    check(isinstance(flags, Sequence), "be a sequence or None", "jit_compile", jit_compile)
    for flag in flags:
        check_flag(jit_compile=flag)
    is_sequence = isinstance(steps_per_execution, Sequence)
    check(is_sequence, "be a sequence", "steps_per_execution", steps_per_execution)
    for size in steps_per_execution:
        check_positive(steps_per_execution=size)


def _check_model(model) -> None:
    compiled = getattr(model, "compiled", False) and model.optimizer is not None
    check(compiled, "be compiled, with an optimizer", "model", model)
    built = len(model.weights) > 0 and all(layer.built for layer in model.layers)
    check(built, "have all of its weights: call it on a batch first", "model", model)


def _check_batch(batch) -> None:
    holds = isinstance(batch, (tuple, list)) and len(batch) in (2, 3)
    must = "be a tuple (inputs, labels) or (inputs, labels, sample_weight)"
    check(holds, must, "batch", batch)
    leaves = [leaf for leaf in keras.tree.flatten(tuple(batch)) if leaf is not None]
    shapes = [tuple(getattr(leaf, "shape", ())) for leaf in leaves]
    sizes = {shape[0] if shape else None for shape in shapes}
    if len(sizes) != 1 or None in sizes or 0 in sizes:
        raise ValueError(
            "`batch` must consist of arrays with the same number of examples, at least one. "
            f"Received: arrays of the shapes {shapes}."
        )
