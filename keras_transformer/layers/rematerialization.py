"""Rematerialization (gradient checkpointing) of blocks.

`keras.remat` is not enough for Keras layers with dropout: the recomputation must drop the same
entries, but the seed generators have advanced since the first pass; and on JAX, state written in
the inner trace must not leak out of it. Blocks therefore run as pure functions of their inputs,
weights and seeds, and return the new seeds.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import backend, ops

from keras_transformer.ops.jax_platform import jax_platform
from keras_transformer.recording import is_recording

Tensor = Any


def call_block(
    block: keras.layers.Layer, *inputs: Tensor, rematerialize: bool | None, **arguments: Any
) -> Any:
    """Calls a block, and optionally recomputes it in the backward pass.

    Args:
        block: A built layer.
        *inputs: Float tensors to differentiate with respect to, or None.
        rematerialize: Whether to keep only inputs and weights for the backward pass; the block must
            then return a single tensor.
        **arguments: Other arguments of the call, without gradients.

    Returns:
        What `block(*inputs, **arguments)` returns, with the same dropout.
    """
    if not rematerialize or is_recording(inputs[0]):
        return block(*inputs, **arguments)
    weights = [w for w in block.weights if "float" in backend.standardize_dtype(w.dtype)]
    known = {id(weight) for weight in weights}
    # Seeds and quantized weights.
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

    # Copies, since torch updates seeds in place.
    constants = [ops.copy(state.value) for state in states], masks
    output, new = _RUN_TWICE[backend.backend()](
        pure, constants, (*given, *(weight.value for weight in weights))
    )
    for state, value in zip(states, new, strict=True):
        state.assign(value)
    return output


# === Run `pure(constants, *tensors)`, and recompute it for the gradients of its output. ===


def _in_torch(pure, constants, tensors):
    return keras.remat(pure)(constants, *tensors)


def _in_tensorflow(pure, constants, tensors):
    # On TensorFlow, the recomputed function may take and return only floats. But unlike on JAX, its
    # first run is not traced separately, so the states it computes can be used outside.
    left = []

    def output_alone(*tensors):
        output, states = pure(constants, *tensors)
        left.append(states)
        return output

    output = keras.remat(output_alone)(*(ops.convert_to_tensor(tensor) for tensor in tensors))
    return output, left[0]


def _in_jax(pure, constants, tensors):
    if jax_platform() != "cpu":
        return keras.remat(pure)(constants, *tensors)
    import jax

    # On CPUs, XLA recognizes the recomputation of `jax.checkpoint` as a common subexpression and
    # keeps the first result. It does not optimize across the branches of a condition. This one is
    # always true, but XLA cannot infer that, because the number compared may be NaN.
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
