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
    masks = {name: value for name, value in arguments.items() if ops.is_tensor(value)}
    given = [tensor for tensor in inputs if tensor is not None]

    def pure(constants, *tensors):
        old, masks = constants
        rest, values = iter(tensors[: len(given)]), tensors[len(given) :]
        mapping = [*zip(weights, values, strict=True), *zip(states, old, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            positional = (None if x is None else next(rest) for x in inputs)
            output = block(*positional, **{**arguments, **masks})
        return output, [scope.get_current_value(state) for state in states]

    constants = [ops.copy(state.value) for state in states], masks
    output, new = _RUN_TWICE[backend.backend()](
        pure, constants, (*given, *(weight.value for weight in weights))
    )
    for state, value in zip(states, new, strict=True):
        state.assign(value)
    return output


# === Each runs `pure(constants, *tensors)`, and once more for the gradient of its output. ===


def _in_torch(pure, constants, tensors):
    return keras.remat(pure)(constants, *tensors)


def _in_tensorflow(pure, constants, tensors):
    # What TensorFlow runs again may take and return nothing but floats. But its first run is no
    # trace of its own, as it is on JAX: what that leaves behind can be used outside.
    left = []

    def output_alone(*tensors):
        output, states = pure(constants, *tensors)
        left.append(states)
        return output

    output = keras.remat(output_alone)(*(ops.convert_to_tensor(tensor) for tensor in tensors))
    return output, left[0]


def _in_jax(pure, constants, tensors):
    import jax

    if jax.default_backend() != "cpu":
        return keras.remat(pure)(constants, *tensors)

    # On a CPU, XLA sees that `jax.checkpoint` computes the same a second time, and keeps the first.
    # It does not look into the branches of a condition, nor runs them before the condition is
    # known; this one is always true, but XLA cannot know that of a number that may be NaN.
    def gradients(constants, tensors, upstream):
        return jax.vjp(lambda *tensors: pure(constants, *tensors)[0], *tensors)[1](upstream)

    def zeros(constants, tensors, upstream):
        return tuple(ops.zeros_like(tensor) for tensor in tensors)

    def backward(residuals, upstream):
        first = ops.ravel(upstream[0])[0]
        true = ops.logical_or(first == first, first != first)
        return None, *jax.lax.cond(true, gradients, zeros, *residuals, upstream[0])

    def forward(constants, *tensors):
        return pure(constants, *tensors), (constants, tensors)

    run = jax.custom_vjp(pure)
    run.defvjp(forward, backward)
    return run(constants, *tensors)


_RUN_TWICE = {"tensorflow": _in_tensorflow, "jax": _in_jax, "torch": _in_torch}
