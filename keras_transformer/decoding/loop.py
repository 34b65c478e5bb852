"""Compiled decoding: the one place where the backends part ways.

JAX and TensorFlow compile a whole loop with XLA. PyTorch has no loop to compile: its step is
recorded once as a flat list of tensor operations (`torch_graph.py`), and Python repeats that.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import keras
from keras import ops, tree

# For each model what was compiled for it: it goes when the model goes.
_compiled: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
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
    function: Callable[..., Any],
    model: keras.Model,
    settings: Hashable,
    tensors: dict[str, Any],
    state: Any = (),
    weights: list | None = None,
) -> Any:
    """Calls `function(model, settings, state, **tensors)`, compiled where the backend compiles.

    Args:
        function: a module-level function that reads weights only through `model`.
        model: the model; later changes of its weights are seen.
        settings: what the traced program depends on beside shapes; a new value compiles anew.
        tensors: arrays, or nests of them, by name. Each set of shapes is compiled once.
        state: a nest of tensors that must not be used again: its memory is handed on.
        weights: what `weights_of(model)` gave, for a caller that comes back for every token.

    Returns:
        What `function` returns, as tensors of the backend.
    """
    backend = keras.backend.backend()
    tensors = tree.map_structure(ops.convert_to_tensor, tensors)
    if backend == "torch":
        return _run_torch(function, model, settings, state, tensors)
    programs = _compiled.setdefault(model, {})
    weights = weights_of(model) if weights is None else weights
    # More weights (adapters, say) are another program.
    key = (function, settings, tuple(sorted(tensors)), len(weights), _jit_compile)
    if key not in programs:
        make = _compile_jax if backend == "jax" else _compile_tensorflow
        programs[key] = make(function, weakref.ref(model), settings, state, tensors)
    if backend == "jax":
        return programs[key](weights, state, tensors)
    return programs[key](state, tensors)


def run_loop(
    proceed: Callable[..., Any],
    advance: Callable[..., Any],
    model: keras.Model,
    settings: Hashable,
    tensors: dict[str, Any],
    state: Any,
    weights: list | None = None,
) -> Any:
    """Repeats `state = advance(model, settings, state, **tensors)` while `proceed` says so.

    Args:
        proceed: a module-level function `(state, **tensors) -> boolean scalar`.
        advance: a module-level function that keeps the shapes and dtypes of the state.
        model: as for `run_compiled`.
        settings: as for `run_compiled`.
        tensors: as for `run_compiled`; they stay as they are.
        state: a named tuple that must not be used again: its memory is handed on.
        weights: as for `run_compiled`.

    Returns:
        The last state.
    """
    if keras.backend.backend() == "torch":
        weights = weights_of(model) if weights is None else weights
        return _loop_torch(proceed, advance, model, settings, tensors, state, weights)
    return run_compiled(_repeat, model, (proceed, advance, settings), tensors, state, weights)


def weights_of(model: keras.Model) -> list:
    """The values of a model's variables (to find them takes a millisecond)."""
    return [variable.value for variable in model.variables]


def _repeat(model, settings, state, **tensors):
    proceed, advance, settings = settings
    make = type(state)
    return make(
        *ops.while_loop(
            lambda *state: proceed(make(*state), **tensors),
            lambda *state: tuple(advance(model, settings, make(*state), **tensors)),
            tuple(state),
        )
    )


def _loop_torch(proceed, advance, model, settings, tensors, state, weights):
    import torch

    from keras_transformer.decoding.torch_graph import record
    from keras_transformer.decoding.torch_kernels import TransposedKernels

    tensors = tree.map_structure(ops.convert_to_tensor, tensors)

    def step(state, tensors):
        state = advance(model, settings, state, **tensors)
        return state, proceed(state, **tensors)

    with _without_gradients():
        goes_on = proceed(state, **tensors)
        if not goes_on:
            return state
        programs = _compiled.setdefault(model, {})
        kernels = programs.setdefault(TransposedKernels, TransposedKernels())
        kernels.refresh(weights)
        device = state[0].device.type
        autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        key = (advance, settings, _signature((state, tensors)), autocast)
        # A recorded step holds the tensors of the weights: new values in them are seen, but not
        # new tensors in their place.
        if key not in programs or not _are_same(programs[key][0], weights):
            programs[key] = weights, record(step, state, tensors, kernels)
        run = programs[key][1]
        while goes_on:
            state, goes_on = run(state, tensors)
        return state


def _signature(nest):
    leaves = tree.flatten(nest)
    return tuple((tuple(leaf.shape), leaf.dtype, str(leaf.device)) for leaf in leaves)


def _are_same(first, second):
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def _run_torch(function, model, settings, state, tensors):
    with _without_gradients():
        return function(model, settings, state, **tensors)


@contextlib.contextmanager
def _without_gradients():
    """Torch's `no_grad`, in `inference_mode` too: its tensors could not be written to later."""
    import torch

    with torch.inference_mode(False), torch.no_grad():
        yield


def _compile_jax(function, model_reference, settings, state, tensors):
    import jax

    def stateless(values, state, tensors):
        # Weights come in as arguments: as constants they would be frozen into the program.
        model = model_reference()
        mapping = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(model, settings, state, **tensors)

    return jax.jit(stateless, donate_argnums=1)


def _compile_tensorflow(function, model_reference, settings, state, tensors):
    import tensorflow as tf

    def open_axes(tensor):
        # One trace serves every batch size and length; XLA fills them in. Of a cache (B, K, S, H)
        # the heads and their size stay known.
        shape = [None] * tensor.ndim
        if tensor.ndim == 4:
            shape[1], shape[3] = tensor.shape[1], tensor.shape[3]
        return tf.TensorSpec(shape, tensor.dtype)

    model = model_reference()
    given, returned = tree.map_structure(lambda tensor: 0, (state, tensors)), None

    def traced(*flat):
        nonlocal returned
        state, tensors = tree.pack_sequence_as(given, flat)
        result = function(model_reference(), settings, state, **tensors)
        returned = tree.map_structure(lambda tensor: 0, result)
        return tree.flatten(result)

    traced = tf.function(
        traced,
        input_signature=[open_axes(tensor) for tensor in tree.flatten((state, tensors))],
        autograph=False,
        jit_compile=_jit_compile and all(layer.supports_jit for layer in model.layers),
    )
    # The concrete function, and flat: a call through nests and the signature costs a millisecond
    # more, which a stream would pay again and again.
    concrete = traced.get_concrete_function()
    return lambda state, tensors: tree.pack_sequence_as(
        returned, concrete(*tree.flatten((state, tensors)))
    )
