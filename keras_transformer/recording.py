"""Hooks for looking inside a model: layers report tensors while a recording is active.

Outside of a recording, a report costs one lookup. Recordings belong to the thread that makes them:
other threads that call the same model at the same time report nothing.

Shape letters: B batch, T length, D width of the input, H units.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

from keras_transformer.recurrent_steps import step_of

Tensor = Any


class Recorder:
    """Receives tensors by name: the path of the layer being called, then the tensor's own name.

    Args:
        root: The model recorded; its own name is not part of any path.
        receive: Called with the name and the tensor of each report.
        edits: Functions by name, each of which replaces a reported tensor.
    """

    def __init__(
        self,
        root: keras.layers.Layer,
        receive: Callable[[str, Tensor], None],
        edits: dict[str, Callable[[Tensor], Tensor]] | None = None,
    ):
        self.root, self.receive, self.edits = root, receive, dict(edits or {})
        self.path: list[str] = []
        self.layers: list[keras.layers.Layer] = []  # those being called
        self.is_muted = False

    def report(self, name: str, tensor: Tensor) -> Tensor:
        """Returns the tensor, or the result of its edit."""
        if self.is_muted:
            return tensor
        if not is_concrete(tensor):
            self._check_eager(tensor)
            return tensor
        name = "/".join([*self.path, name])
        if name in self.edits:
            tensor = self.edits[name](tensor)
        self.receive(name, tensor)
        return tensor

    def _check_eager(self, tensor):
        # On a traced tensor, an edit would have no effect or would remain in the compiled program.
        if self.edits and not isinstance(tensor, keras.KerasTensor):
            raise ValueError(
                "`ablate` requires calls that run eagerly: call the model itself. "
                "Received: a call in a compiled function, such as that of `predict`."
            )


_current: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def is_recording(*tensors: Tensor) -> bool:
    """Whether this thread is recording; if so, attention is dense and decoding is not compiled.

    Args:
        *tensors: Tensors of the call. If one has no values, the call is being traced and the result
            is False: a compiled program must not depend on whether it was traced while recording.
    """
    return _current.get() is not None and all(map(is_concrete, tensors))


def report(name: str, tensor: Tensor) -> Tensor:
    """Reports a tensor of the layer being called; returns it, or the result of its edit."""
    recorder = _current.get()
    return tensor if recorder is None else recorder.report(name, tensor)


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Installs a recorder for the current thread for the duration of the `with` block."""
    if is_recording():
        raise ValueError("`record` must not be nested. Received: a recording inside another one.")
    token = _current.set(recorder)
    try:
        with _calls_reported():
            yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Suppresses reports, for loops that only some of the backends trace."""
    recorder = _current.get()
    if recorder is None:
        yield
        return
    before, recorder.is_muted = recorder.is_muted, True
    try:
        yield
    finally:
        recorder.is_muted = before


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Adds a name to the path, for a layer that is not called itself."""
    recorder = _current.get()
    if recorder is None:
        yield
        return
    recorder.path.append(name)
    try:
        yield
    finally:
        recorder.path.pop()


# === The path and the output of each layer called ===

_OURS = "keras_transformer."
_lock = threading.Lock()
_num_recordings = 0
_keras_call = keras.layers.Layer.__call__


@contextlib.contextmanager
def _calls_reported():
    """Reports the calls of all layers, including Keras's own, through the class they share.

    The method is replaced only during a recording, which changes no layer and costs nothing the
    rest of the time.
    """
    global _num_recordings
    with _lock:
        _num_recordings += 1
        keras.layers.Layer.__call__ = _reported_call  # type: ignore[method-assign]
    try:
        yield
    finally:
        with _lock:
            _num_recordings -= 1
            if not _num_recordings:
                keras.layers.Layer.__call__ = _keras_call  # type: ignore[method-assign]


def _reported_call(layer, *args, **kwargs):
    recorder = _current.get()
    if recorder is None or layer is recorder.root:
        return _keras_call(layer, *args, **kwargs)
    with scope(layer.name):
        recorder.layers.append(layer)
        try:
            if not isinstance(layer, keras.layers.RNN):
                result = _keras_call(layer, *args, **kwargs)
            else:
                with muted():
                    result = _keras_call(layer, *args, **kwargs)
                report_recurrence(layer, *args, **kwargs)
        finally:
            recorder.layers.pop()
        output = _first(result)
        if not ops.is_tensor(output) or _is_detail(layer, recorder):
            return result
        edited = report("output", output)
        return result if edited is output else _with_first(result, edited)


def _is_detail(layer, recorder):
    """Whether a Keras layer is an internal part of one of our layers, which reports the result."""
    is_inside = recorder.layers and type(recorder.layers[-1]).__module__.startswith(_OURS)
    return isinstance(layer, keras.layers.Dropout) or (
        is_inside and isinstance(layer, keras.layers.Dense)
    )


def _first(result):
    if isinstance(result, dict):
        return result.get("output")
    return result[0] if isinstance(result, (list, tuple)) and result else result


def _with_first(result, output):
    if isinstance(result, dict):
        return type(result)({**result, "output": output})
    return (output, *result[1:]) if isinstance(result, (list, tuple)) else output


def is_concrete(tensor: Any) -> bool:
    """Whether a tensor has values: it is neither symbolic nor traced."""
    if isinstance(tensor, keras.KerasTensor):
        return False
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.is_symbolic_tensor(tensor)
    if backend == "jax":
        import jax

        return not isinstance(tensor, jax.core.Tracer)
    return True


# === Recurrent layers, whose loops hide gates and states ===


def report_recurrence(
    layer: keras.layers.RNN,
    inputs: Tensor,
    initial_state: Any = None,
    mask: Tensor | None = None,
    **_: Any,
) -> None:
    """Recomputes the gates and states of a Keras layer step by step and reports them.

    Args:
        layer: A `SimpleRNN`, `LSTM` or `GRU`; others have no gates to report.
        inputs: (B, T, D).
        initial_state: The states before the first step; zeros by default.
        mask: Boolean (B, T), False where the states do not change.
    """
    step = step_of(layer.cell)
    recorder = _current.get()
    if step is None or recorder is None or recorder.is_muted or not is_concrete(inputs):
        return
    states = initial_state
    if states is None:
        states = layer.get_initial_state(ops.shape(inputs)[0])
    states = list(states) if isinstance(states, (list, tuple)) else [states]
    length = inputs.shape[1]
    found: dict[str, list] = {}
    order = range(length)[::-1] if layer.go_backwards else range(length)
    for position in order:
        gates, new = step(layer.cell, inputs[:, position], states)
        if mask is not None:
            real = mask[:, position, None]
            new = [ops.where(real, one, old) for one, old in zip(new, states, strict=True)]
        states = new
        gates |= dict(zip(("state", "memory"), states, strict=False))
        for name, tensor in gates.items():
            found.setdefault(name, []).append(tensor)
    for name, tensors in found.items():
        in_order = tensors[::-1] if layer.go_backwards else tensors
        report(name, ops.stack(in_order, axis=1))  # (B, T, H)
