"""Compiled decoding loops, the only backend-specific part of decoding.

JAX and TensorFlow compile a whole loop with XLA. On PyTorch a step is recorded once as a flat list
of tensor operations (`torch_graph.py`), which Python runs in a loop.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import keras
from keras import ops, tree

from keras_transformer.checks import check_flag
from keras_transformer.decoding.fingerprint import fingerprint
from keras_transformer.decoding.programs import Programs
from keras_transformer.ops.batch_layouts import split_rows
from keras_transformer.recording import is_recording

_jit_compile = True

# Threads compile one at a time, so that each program is compiled once, and because methods of all
# modules are replaced while a step is recorded on PyTorch. Compiled programs run in parallel.
_compiling = threading.RLock()


def set_jit_compile(enabled: bool) -> None:
    """Enables or disables XLA for decoding on TensorFlow (enabled by default).

    XLA cuts the time per token by about a third, but each new set of shapes takes a few seconds to
    compile. Without it, the loop is a TensorFlow graph, traced once, which suits a few short texts
    of many lengths and models with operations that XLA lacks. The setting is independent of
    `model.compile(jit_compile=...)`, which affects training. JAX always compiles; PyTorch never
    does.

    Args:
        enabled: Whether to use XLA.

    Raises:
        ValueError: If `enabled` is not a boolean.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.set_jit_compile(False)
        >>> kt.decoding.set_jit_compile(True)
    """
    global _jit_compile
    check_flag(enabled=enabled)
    _jit_compile = enabled


def run_compiled(
    programs: Programs,
    function: Callable[..., Any],
    tensors: dict[str, Any],
    state: Any = (),
    parts: tuple = (),
) -> Any:
    """Calls `function(model, settings, state, *parts, **tensors)`, compiled except on PyTorch.

    Args:
        programs: The result of `programs_of` for the model and the settings.
        function: A module-level function that reads weights only through the model.
        tensors: Arrays, or nests of them, by name. Each set of shapes is compiled once.
        state: A nest of tensors. It is donated, and must not be used again.
        parts: Module-level functions that `function` calls.

    Returns:
        The result of `function`, as tensors of the backend.
    """
    backend = keras.backend.backend()
    tensors = tree.map_structure(ops.convert_to_tensor, tensors)
    if backend == "torch" or is_recording():
        with _without_gradients():
            return function(programs.model, programs.settings, state, *parts, **tensors)
    names = tuple(sorted(tensors))
    arguments: tuple = (state, tensors)
    if backend == "jax":
        # One program per set of shapes: it can be dropped without the others.
        key: Hashable = (function, parts, names, _signature((state, tensors)))
        make: Callable = jax_program
        tensors = tree.map_structure(split_rows, tensors)
        arguments = (programs.weights, state, tensors)
    else:
        key, make = (function, parts, names, _jit_compile), _compile_tensorflow
    run = programs.find(key)
    if run is not None:
        return run(*arguments)
    with _compiling:
        run = programs.find(key)
        if run is None:
            run = make(programs, function, tensors, state, parts)
            result = run(*arguments)  # JAX compiles in the first call
            programs.keep(key, run)
            return result
    return run(*arguments)


def run_loop(
    programs: Programs,
    proceed: Callable[..., Any],
    advance: Callable[..., Any],
    tensors: dict[str, Any],
    state: Any,
) -> Any:
    """Repeats `state = advance(model, settings, state, **tensors)` while `proceed` returns True.

    Args:
        programs: As for `run_compiled`.
        proceed: A module-level function `(state, **tensors) -> boolean scalar`.
        advance: A module-level function that preserves the shapes and dtypes of the state.
        tensors: As for `run_compiled`; the same in each iteration.
        state: A named tuple. It is donated, and must not be used again.

    Returns:
        The final state.
    """
    if is_recording():
        return _loop_eagerly(programs, proceed, advance, tensors, state)
    if keras.backend.backend() == "torch":
        return _loop_torch(programs, proceed, advance, tensors, state)
    return run_compiled(programs, repeat_steps, tensors, state, (proceed, advance))


def _loop_eagerly(programs, proceed, advance, tensors, state):
    tensors = tree.map_structure(ops.convert_to_tensor, tensors)
    with _without_gradients():
        while proceed(state, **tensors):
            state = advance(programs.model, programs.settings, state, **tensors)
    return state


def repeat_steps(model, settings, state, proceed, advance, **tensors):
    """Runs the loop of `run_loop` as part of a program, and returns the final state."""
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
        key = (proceed, advance, _signature((state, tensors)), str(state[0].device), autocast)
        run = programs.find(key)
        if run is None:
            with _compiling:
                run = programs.find(key)
                if run is None:
                    run = record(step, state, tensors, kernels)
                    programs.keep(key, run)
        while goes_on:
            state, goes_on = run(state, tensors)
        return state


def _signature(nest) -> Hashable:
    return tuple((tuple(leaf.shape), leaf.dtype) for leaf in tree.flatten(nest))


@contextlib.contextmanager
def _without_gradients():
    """On PyTorch, disables gradients and exits `inference_mode`.

    Inference tensors cannot be updated later.
    """
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    with torch.inference_mode(False), torch.no_grad():
        yield


def jax_program(
    programs: Programs, function: Callable[..., Any], tensors: Any, state: Any, parts: tuple
) -> Callable[..., Any]:
    """Returns the program of `run_compiled` on JAX, not yet compiled.

    Args:
        programs: As for `run_compiled`.
        function: As for `run_compiled`.
        tensors: Not used: JAX traces in the first call.
        state: Not used.
        parts: As for `run_compiled`.

    Returns:
        A function `(weights, state, tensors) -> result` made by `jax.jit`.
    """
    import jax

    # A weak reference, so that the programs do not keep the model alive.
    reference, settings = weakref.ref(programs.model), programs.settings

    def stateless(values, state, tensors):
        # Pass weights as arguments; otherwise the program would contain them as constants.
        model = reference()
        mapping = list(zip(fingerprint(model).variables, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return function(model, settings, state, *parts, **tensors)

    return jax.jit(stateless, donate_argnums=1)


def _compile_tensorflow(programs, function, tensors, state, parts):
    from keras_transformer.decoding.tensorflow_program import TensorFlowProgram

    model, settings = programs.model, programs.settings
    reference = weakref.ref(model)  # so that the programs do not keep the model alive

    def call(state, tensors):
        return function(reference(), settings, state, *parts, **tensors)

    use_xla = _jit_compile and all(layer.supports_jit for layer in model.layers)
    return TensorFlowProgram(call, state, tensors, use_xla, _compiling)
