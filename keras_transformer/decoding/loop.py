"""Compiled decoding: the one place where the backends part ways.

JAX and TensorFlow compile a whole loop with XLA. PyTorch has no loop to compile: its step is
recorded once as a flat list of tensor operations (`torch_graph.py`), and Python repeats that.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, tree

from keras_transformer.decoding.fingerprint import fingerprint
from keras_transformer.decoding.programs import Programs

_jit_compile = True


def set_jit_compile(enabled: bool) -> None:
    """Says whether TensorFlow decodes through XLA, as it does unless told otherwise.

    With XLA a token costs about two thirds, but each new set of shapes costs a compilation of a few
    seconds. Without it the loop is a TensorFlow graph, traced once: better for a few short texts
    of many lengths, and the way out where XLA lacks an operation. It has nothing to do with
    `model.compile(jit_compile=...)`, which is about training. JAX always compiles, PyTorch never.

    Args:
        enabled: True or False.

    Raises:
        ValueError: `enabled` is no boolean.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.set_jit_compile(False)
        >>> kt.decoding.set_jit_compile(True)
    """
    global _jit_compile
    if not isinstance(enabled, bool):
        raise ValueError(f"`enabled` must be True or False. Received: enabled={enabled!r}.")
    _jit_compile = enabled


def run_compiled(
    programs: Programs,
    function: Callable[..., Any],
    tensors: dict[str, Any],
    state: Any = (),
    parts: tuple = (),
) -> Any:
    """Calls `function(model, settings, state, *parts, **tensors)`, compiled where that is done.

    Args:
        programs: what `programs_of` gave for the model and the settings.
        function: a module-level function that reads weights only through the model.
        tensors: arrays, or nests of them, by name. Each set of shapes is compiled once.
        state: a nest of tensors that must not be used again: its memory is handed on.
        parts: module-level functions that `function` calls.

    Returns:
        What `function` returns, as tensors of the backend.
    """
    backend = keras.backend.backend()
    tensors = tree.map_structure(ops.convert_to_tensor, tensors)
    if backend == "torch":
        with _without_gradients():
            return function(programs.model, programs.settings, state, *parts, **tensors)
    key = (function, parts, tuple(sorted(tensors)), _jit_compile)
    if key not in programs.compiled:
        make = _compile_jax if backend == "jax" else _compile_tensorflow
        programs.compiled[key] = make(programs, function, tensors, state, parts)
    if backend == "jax":
        return programs.compiled[key](programs.weights, state, tensors)
    return programs.compiled[key](state, tensors)


def run_loop(
    programs: Programs,
    proceed: Callable[..., Any],
    advance: Callable[..., Any],
    tensors: dict[str, Any],
    state: Any,
) -> Any:
    """Repeats `state = advance(model, settings, state, **tensors)` while `proceed` says so.

    Args:
        programs: as for `run_compiled`.
        proceed: a module-level function `(state, **tensors) -> boolean scalar`.
        advance: a module-level function that keeps the shapes and dtypes of the state.
        tensors: as for `run_compiled`; they stay as they are.
        state: a named tuple that must not be used again: its memory is handed on.

    Returns:
        The last state.
    """
    if keras.backend.backend() == "torch":
        return _loop_torch(programs, proceed, advance, tensors, state)
    return run_compiled(programs, _repeat, tensors, state, (proceed, advance))


def _repeat(model, settings, state, proceed, advance, **tensors):
    make = type(state)
    return make(
        *ops.while_loop(
            lambda *state: proceed(make(*state), **tensors),
            lambda *state: tuple(advance(model, settings, make(*state), **tensors)),
            tuple(state),
        )
    )


def _loop_torch(programs, proceed, advance, tensors, state):
    import torch

    from keras_transformer.decoding.torch_graph import record
    from keras_transformer.decoding.torch_kernels import TransposedKernels

    tensors = tree.map_structure(ops.convert_to_tensor, tensors)

    def step(state, tensors):
        state = advance(programs.model, programs.settings, state, **tensors)
        return state, proceed(state, **tensors)

    with _without_gradients():
        goes_on = proceed(state, **tensors)
        if not goes_on:
            return state
        kernels = programs.shared.setdefault(TransposedKernels, TransposedKernels())
        kernels.refresh(programs.weights)
        device = state[0].device.type
        autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        key = (proceed, advance, _signature((state, tensors)), autocast)
        if key not in programs.compiled:
            programs.compiled[key] = record(step, state, tensors, kernels)
        run = programs.compiled[key]
        while goes_on:
            state, goes_on = run(state, tensors)
        return state


def _signature(nest):
    leaves = tree.flatten(nest)
    return tuple((tuple(leaf.shape), leaf.dtype, str(leaf.device)) for leaf in leaves)


@contextlib.contextmanager
def _without_gradients():
    """Torch's `no_grad`, in `inference_mode` too: its tensors could not be written to later."""
    import torch

    with torch.inference_mode(False), torch.no_grad():
        yield


def _compile_jax(programs, function, tensors, state, parts):
    import jax

    # Not the model itself, which the programs would keep alive.
    reference, settings = weakref.ref(programs.model), programs.settings

    def stateless(values, state, tensors):
        # Weights come in as arguments: as constants they would be frozen into the program.
        model = reference()
        mapping = list(zip(fingerprint(model).variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(model, settings, state, *parts, **tensors)

    return jax.jit(stateless, donate_argnums=1)


def _compile_tensorflow(programs, function, tensors, state, parts):
    import tensorflow as tf

    def open_axes(tensor):
        # One trace serves every batch size and length; XLA fills them in. Of a cache (B, K, S, H)
        # the heads and their size stay known.
        shape = [None] * tensor.ndim
        if tensor.ndim == 4:
            shape[1], shape[3] = tensor.shape[1], tensor.shape[3]
        return tf.TensorSpec(shape, tensor.dtype)

    model, settings = programs.model, programs.settings
    reference = weakref.ref(model)  # not the model itself, which the programs would keep alive
    given, returned = tree.map_structure(lambda tensor: 0, (state, tensors)), None

    def traced(*flat):
        nonlocal returned
        state, tensors = tree.pack_sequence_as(given, flat)
        result = function(reference(), settings, state, *parts, **tensors)
        returned = tree.map_structure(lambda tensor: 0, result)
        return tree.flatten(result)

    program = tf.function(
        traced,
        input_signature=[open_axes(tensor) for tensor in tree.flatten((state, tensors))],
        autograph=False,
        jit_compile=_jit_compile and all(layer.supports_jit for layer in model.layers),
    )
    # The concrete function, and flat: a call through nests and the signature costs a millisecond
    # more, which a stream would pay again and again.
    concrete = program.get_concrete_function()
    return lambda state, tensors: tree.pack_sequence_as(
        returned, concrete(*tree.flatten((state, tensors)))
    )
