"""Training a model on trial, and undoing everything that the training changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_transformer.training.run_state import restore_random_states, run_arrays

# What `compile` and `fit` set.
_ATTRIBUTES = (
    "optimizer",
    "jit_compile",
    "run_eagerly",
    "steps_per_execution",
    "stop_training",
    "train_function",
    "history",
)


@contextlib.contextmanager
def trial_run(model: keras.Model) -> Iterator[None]:
    """Undoes what training in the `with` block changes, also after an error.

    Weights, random states, the optimizer's variables, metrics and compile settings get the values
    that they had, and the model keeps its compiled training step. The values are held in main
    memory meanwhile. An optimizer without variables must stay so, because they would fix which
    weights it trains: a copy of it trains instead.

    Args:
        model: A compiled model with all of its weights.

    Yields:
        None.

    Raises:
        ValueError: if the optimizer has to be copied, but its config does not recreate it.
    """
    attributes = {name: getattr(model, name) for name in _ATTRIBUTES if hasattr(model, name)}
    unbuilt = [metric for metric in model.metrics if not getattr(metric, "built", True)]
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    # Copies: on torch, arrays share their memory with tensors on the CPU.
    values = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in variables]
    random_states = run_arrays(model)
    modules = _state_of_modules(model)
    if not model.optimizer.built:
        model.optimizer = _copy_of_optimizer(model)
    try:
        yield
    finally:
        model.reset_metrics()
        for metric in unbuilt:
            metric.built = False
        for name, value in attributes.items():
            setattr(model, name, value)
        if "history" not in attributes and hasattr(model, "history"):
            del model.history
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        restore_random_states(random_states)
        _restore_modules(model, modules)


def _copy_of_optimizer(model: Any) -> Any:
    optimizer = model.optimizer
    # Under `tf.distribute`, its variables belong to the strategy of the model.
    on_tensorflow = keras.backend.backend() == "tensorflow"
    scope = model.distribute_strategy.scope() if on_tensorflow else contextlib.nullcontext()
    try:
        with scope:
            return type(optimizer).from_config(optimizer.get_config())
    except Exception as error:  # whatever a config from elsewhere may raise
        raise ValueError(
            "`model` must have an optimizer that its config can recreate, or that has made a step. "
            f"Received: optimizer={optimizer!r}."
        ) from error


def _state_of_modules(model: Any) -> tuple[list, dict]:
    """Returns the gradients and modes that torch's tensors and modules hold."""
    if keras.backend.backend() != "torch":
        return [], {}
    tensors = [variable.value for variable in model.variables]
    gradients = [(tensor, tensor.grad) for tensor in tensors]
    return gradients, {module: module.training for module in model.modules()}


def _restore_modules(model: Any, state: tuple[list, dict]) -> None:
    gradients, modes = state
    for tensor, gradient in gradients:
        tensor.grad = gradient
    for module in model.modules() if modes else ():
        # Keras puts the parameters into a new module when it builds the optimizer.
        module.training = modes.get(module, modes[model])
