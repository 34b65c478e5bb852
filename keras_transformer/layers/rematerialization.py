"""Blocks whose activations are made a second time in the backward pass, and not kept for it.

`keras.remat` alone will not do for a Keras layer with dropout. The second pass must drop what the
first dropped, but draws from seed generators that have moved on; and on JAX the state that a layer
writes in the inner trace must not escape from it. So the layer runs as a pure function of its
inputs, its weights and its seeds, and its new seeds are one of the results.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import backend, ops

Tensor = Any


def call_block(
    block: keras.layers.Layer, *inputs: Tensor, rematerialize: bool | None, **arguments: Any
) -> Any:
    """Calls a block, and has its backward pass call it once more if asked to.

    Args:
        block: a built layer.
        *inputs: float tensors that gradients flow to, or None.
        rematerialize: keep nothing but inputs and weights for the backward pass; the block must
            then have one tensor as output.
        **arguments: further arguments of the call, to which no gradients flow.

    Returns:
        What `block(*inputs, **arguments)` returns, with the same dropout.
    """
    if not rematerialize:
        return block(*inputs, **arguments)
    weights = [w for w in block.weights if "float" in backend.standardize_dtype(w.dtype)]
    known = {id(weight) for weight in weights}
    # Seeds, and integers that stand for weights. Copies: torch writes new seeds in place.
    states = [variable for variable in block.variables if id(variable) not in known]
    old = [ops.copy(state.value) for state in states]
    given = [tensor for tensor in inputs if tensor is not None]

    def pure(*tensors):
        rest, values = iter(tensors[: len(given)]), tensors[len(given) :]
        mapping = [*zip(weights, values, strict=True), *zip(states, old, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            output = block(*(None if x is None else next(rest) for x in inputs), **arguments)
        return output, [scope.get_current_value(state) for state in states]

    output, new = _run_twice(pure, (*given, *(weight.value for weight in weights)))
    for state, value in zip(states, new, strict=True):
        state.assign(value)
    return output


def _run_twice(pure, tensors):
    """Runs `pure(*tensors) -> (output, states)`; the gradient of the output runs it again."""
    if backend.backend() != "tensorflow":
        return keras.remat(pure)(*tensors)
    # What TensorFlow runs again may return nothing but floats. But its first run is no trace of its
    # own, as it is on JAX: what that leaves behind can be used outside.
    left = []

    def output_alone(*tensors):
        output, states = pure(*tensors)
        left.append(states)
        return output

    output = keras.remat(output_alone)(*(ops.convert_to_tensor(tensor) for tensor in tensors))
    return output, left[0]
