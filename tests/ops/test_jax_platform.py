"""What chooses a kernel by the device asks for the one that JAX compiles for."""

import types

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.ops.jax_platform import jax_platform
from tests.harness import BACKEND, normal, to_numpy
from tests.layers.test_rematerialization import arguments_of, make_stack

on_jax = pytest.mark.skipif(BACKEND != "jax", reason="about JAX")


def distribution_over(device):
    mesh = keras.distribution.DeviceMesh((1,), ("batch",), [device])
    return keras.distribution.DataParallel(device_mesh=mesh)


def tpu():
    """A distribution over a described TPU, on which nothing can run."""
    return distribution_over(types.SimpleNamespace(platform="tpu"))


@on_jax
def test_a_distribution_comes_first():
    import jax

    assert jax_platform() == jax.default_backend()
    for device, expected in (
        (types.SimpleNamespace(platform="tpu"), "tpu"),
        (jax.devices("cpu")[0], "cpu"),
        ("gpu:1", "gpu"),
        ("cpu:0", "cpu"),
    ):
        with distribution_over(device).scope():
            assert jax_platform() == expected
    assert jax_platform() == jax.default_backend()


@pytest.mark.skipif(BACKEND == "jax", reason="about the others")
def test_other_backends_have_no_such_platform():
    assert jax_platform() is None


@on_jax
@pytest.mark.parametrize("implementation", ["auto", "fused"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_keras_kernel_for_tpus_is_not_called(monkeypatch, implementation, with_bias):
    tensors = [ops.convert_to_tensor(normal(2, 5, 6, 3, seed=seed)) for seed in range(3)]
    bias = normal(1, 6, 5, 5, seed=3) if with_bias else None
    expected = kt.ops.dot_product_attention(*tensors, bias=bias, implementation="dense")
    monkeypatch.setattr(keras.ops, "dot_product_attention", None)
    with tpu().scope():
        output = kt.ops.dot_product_attention(*tensors, bias=bias, implementation=implementation)
    np.testing.assert_array_equal(to_numpy(output), to_numpy(expected))


@on_jax
def test_blocks_begin_at_another_length(monkeypatch):
    calls = []
    name = "keras_transformer.ops.scaled_dot_product.blockwise_attention"
    monkeypatch.setattr(name, lambda query, *others, **options: calls.append(1) or query)
    query = ops.zeros((1, 1031, 1, 2))
    kt.ops.dot_product_attention(query, query, query)
    assert len(calls) == (jax_platform() == "cpu")
    with tpu().scope():
        kt.ops.dot_product_attention(query[:, :3], query, query)
        kt.ops.dot_product_attention(*[ops.zeros((1, 2053, 1, 2))] * 3)
    assert len(calls) == 1 + (jax_platform() == "cpu")


@on_jax
def test_rematerialization_is_the_usual_one_on_a_tpu():
    """The condition that hides the recomputation from XLA is for CPUs only."""
    import jax

    inputs, arguments = arguments_of("encoder")
    stack = make_stack("encoder", True)
    weights = stack.trainable_variables

    def loss(values):
        with keras.StatelessScope(list(zip(weights, values, strict=True))):
            return ops.mean(stack(*inputs, **arguments, training=True) ** 3)

    def program():
        # A new function each time, since JAX keeps what it traced.
        values = [weight.value for weight in weights]
        return str(jax.make_jaxpr(jax.grad(lambda values: loss(values)))(values))

    with tpu().scope():
        on_tpu = program()
    on_cpu = program()
    assert "cond[" not in on_tpu and "remat" in on_tpu
    if jax.default_backend() == "cpu":
        assert "cond[" in on_cpu and "remat" not in on_cpu
