"""Compiled decoding: the one place where the backends part ways."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any

import keras
from keras import ops

# For each model what was compiled for it: it goes when the model goes.
_compiled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def run_compiled(
    function: Callable[..., Any], model: keras.Model, settings: Hashable, tensors: dict[str, Any]
) -> Any:
    """Calls `function(model, settings, **tensors)`, compiled where the backend compiles.

    Args:
        function: a module-level function that reads weights only through `model`.
        model: the model; later changes of its weights are seen.
        settings: what the traced program depends on beside shapes; a new value compiles anew.
        tensors: arrays by name. JAX compiles once for each set of shapes, TensorFlow once in all.

    Returns:
        What `function` returns, as tensors of the backend.
    """
    backend = keras.backend.backend()
    tensors = {name: ops.convert_to_tensor(value) for name, value in tensors.items()}
    if backend == "torch":
        return _run_torch(function, model, settings, tensors)
    programs = _compiled.setdefault(model, {})
    key = (function, settings, tuple(sorted(tensors)))
    if key not in programs:
        make = _compile_jax if backend == "jax" else _compile_tensorflow
        programs[key] = make(function, weakref.ref(model), settings, tensors)
    if backend == "jax":
        values = [variable.value for variable in model.variables]
        return programs[key](values, tensors)
    return programs[key](**tensors)


def _run_torch(function, model, settings, tensors):
    import torch

    with torch.no_grad():
        return function(model, settings, **tensors)


def _compile_jax(function, model_reference, settings, tensors):
    import jax

    def stateless(values, tensors):
        # Weights come in as arguments: as constants they would be frozen into the program.
        model = model_reference()
        mapping = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(model, settings, **tensors)

    return jax.jit(stateless)


def _compile_tensorflow(function, model_reference, settings, tensors):
    import tensorflow as tf

    # All axes open: one trace serves every batch size and length.
    signature = {
        name: tf.TensorSpec([None] * len(tensor.shape), tensor.dtype, name=name)
        for name, tensor in tensors.items()
    }

    def traced(tensors):
        return function(model_reference(), settings, **tensors)

    program = tf.function(traced, input_signature=[signature], autograph=False)
    return lambda **tensors: program(tensors)
