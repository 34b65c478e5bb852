"""One step of Keras's recurrent cells, with the values of their gates.

Shape letters: B batch, D width of the input, H units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any
# Of a cell, an input (B, D) and states (B, H): the gates by name, and the new states.
Step = Callable[[Any, Tensor, list[Tensor]], tuple[dict[str, Tensor], list[Tensor]]]


def step_of(cell: keras.layers.Layer) -> Step | None:
    """Returns the step of a cell, or None for a cell without gates to show."""
    return next((step for kind, step in _STEPS.items() if isinstance(cell, kind)), None)


def _simple_step(cell, x, states):
    hidden = _product(cell, x, cell.kernel) + _product(cell, states[0], cell.recurrent_kernel)
    return {}, [cell.activation(_with_bias(hidden, cell.bias))]


def _lstm_step(cell, x, states):
    hidden, memory = states
    z = _product(cell, x, cell.kernel) + _product(cell, hidden, cell.recurrent_kernel)
    i, f, c, o = ops.split(_with_bias(z, cell.bias), 4, axis=-1)
    i, f, o = (cell.recurrent_activation(gate) for gate in (i, f, o))
    candidate = cell.activation(c)
    memory = f * memory + i * candidate
    gates = {"input_gate": i, "forget_gate": f, "output_gate": o, "candidate": candidate}
    return gates, [o * cell.activation(memory), memory]


def _gru_step(cell, x, states):
    hidden = states[0]
    of_input, of_state = (None, None) if cell.bias is None else (cell.bias, None)
    if cell.bias is not None and cell.reset_after:
        of_input, of_state = cell.bias[0], cell.bias[1]
    units = cell.units
    x = _with_bias(_product(cell, x, cell.kernel), of_input)
    if cell.reset_after:
        inner = _with_bias(_product(cell, hidden, cell.recurrent_kernel), of_state)
    else:
        inner = _product(cell, hidden, cell.recurrent_kernel[:, : 2 * units])
    update = cell.recurrent_activation(x[:, :units] + inner[:, :units])
    reset = cell.recurrent_activation(x[:, units : 2 * units] + inner[:, units : 2 * units])
    if cell.reset_after:
        rest = reset * inner[:, 2 * units :]
    else:
        rest = _product(cell, reset * hidden, cell.recurrent_kernel[:, 2 * units :])
    candidate = cell.activation(x[:, 2 * units :] + rest)
    gates = {"update_gate": update, "reset_gate": reset, "candidate": candidate}
    return gates, [update * hidden + (1.0 - update) * candidate]


def _product(cell, x, kernel):
    return ops.matmul(ops.cast(x, cell.compute_dtype), ops.cast(kernel, cell.compute_dtype))


def _with_bias(x, bias):
    return x if bias is None else x + ops.cast(bias, x.dtype)


_STEPS = {
    keras.layers.SimpleRNNCell: _simple_step,
    keras.layers.LSTMCell: _lstm_step,
    keras.layers.GRUCell: _gru_step,
}
