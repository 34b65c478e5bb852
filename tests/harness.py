"""The one harness that every layer passes, and the small helpers of the other tests.

Axes are different primes throughout: batch 2, target length 5, source length 7, and so on, so that
a swapped axis fails on its shape.
"""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops

import keras_transformer as kt
from keras_transformer.models.stack_blocks import make_blocks
from tests.jax_settings import JAX_SETTINGS

REPOSITORY = Path(__file__).resolve().parent.parent
BACKEND = keras.backend.backend()
PACKAGE = "keras_transformer"


# === Helpers ===


def torch_on_a_gpu():
    """Whether tensors live on a GPU where PyTorch ends all work after one wrong index."""
    if BACKEND != "torch":
        return False
    import torch

    return torch.cuda.is_available()


def to_numpy(nest):
    """A nest of tensors as float32, int or bool arrays (bfloat16 has no NumPy of its own)."""

    def convert(tensor):
        if "float" in keras.backend.standardize_dtype(tensor.dtype):
            tensor = ops.cast(tensor, "float32")
        return ops.convert_to_numpy(tensor)

    return keras.tree.map_structure(convert, nest)


def normal(*shape, seed=0):
    """Standard normal float32 values."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def token_ids(*shape, vocabulary_size, seed=0, low=1):
    """Ids without padding."""
    generator = np.random.default_rng(seed)
    return generator.integers(low, vocabulary_size, size=shape).astype("int32")


_OF_STACKS = ("positional_encoding", "input_dropout", "start_is_padding", "rematerialize")
_OF_STACKS += ("share_relative_positions", "name", "dtype")


def _make_stack(stack_class, block_class, num_layers, num_heads, intermediate_dim, arguments):
    of_stack = {name: arguments.pop(name) for name in _OF_STACKS if name in arguments}
    block = make_blocks(
        block_class, num_heads=num_heads, intermediate_dim=intermediate_dim, **arguments
    )
    return stack_class(num_layers, block, **of_stack)


def make_encoder(num_layers, num_heads, intermediate_dim, **arguments):
    """An encoder stack of one kind of block, of the arguments of both."""
    classes = kt.layers.TransformerEncoder, kt.layers.TransformerEncoderBlock
    return _make_stack(*classes, num_layers, num_heads, intermediate_dim, arguments)


def make_decoder(num_layers, num_heads, intermediate_dim, **arguments):
    """A decoder stack of one kind of block, of the arguments of both."""
    classes = kt.layers.TransformerDecoder, kt.layers.DecoderBlock
    return _make_stack(*classes, num_layers, num_heads, intermediate_dim, arguments)


def randomize(layer, seed=0, stddev=0.3):
    """Gives every weight random values, so that no bias is 0 and no gain is 1 by chance."""
    generator = np.random.default_rng(seed)
    for weight in layer.weights:
        if "seed" in weight.path or "int" in keras.backend.standardize_dtype(weight.dtype):
            continue
        values = stddev * generator.normal(size=weight.shape)
        if weight.path.endswith("gamma"):
            values = 1.0 + values
        weight.assign(values.astype("float32"))
    return layer


def assert_close(actual, expected, tolerance=1e-5):
    """Nests of tensors are equal to an absolute and relative tolerance."""
    keras.tree.assert_same_structure(to_numpy(actual), to_numpy(expected))
    pairs = zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(
            to_numpy(one), to_numpy(other), atol=tolerance, rtol=tolerance, strict=False
        )


def gradient(function, value):
    """d sum(function(value)) / d value on the active backend, as float32."""
    value = ops.convert_to_tensor(value)

    def total(x):
        return ops.sum(ops.cast(function(x), "float32"))

    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(value)
            result = total(value)
        return to_numpy(tape.gradient(result, value))
    if BACKEND == "jax":
        import jax

        return to_numpy(jax.grad(total)(value))
    value = value.detach().clone().requires_grad_(True)
    total(value).backward()
    return to_numpy(value.grad)


def run_python(code, *arguments, backend=BACKEND):
    """Runs code in a fresh process on a backend and returns what it printed."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if backend == "jax":
        for name, value in JAX_SETTINGS.items():
            environment.setdefault(name, value)
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(REPOSITORY), *filter(None, [environment.get("PYTHONPATH")])]
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def outputs_after_reload(model, inputs, folder, backend):
    """The outputs of a saved functional model in a fresh process on a backend, by name."""
    model.save(folder / "model.keras")
    np.savez(folder / "inputs.npz", **inputs)
    code = """
import sys
import keras, numpy as np
import keras_transformer
model = keras.saving.load_model(f"{sys.argv[1]}/model.keras")
inputs = dict(np.load(f"{sys.argv[1]}/inputs.npz"))
outputs = model(inputs if len(inputs) > 1 else inputs.popitem()[1], training=False)
outputs = outputs if isinstance(outputs, dict) else {"output": outputs}
outputs = {name: keras.ops.convert_to_numpy(output) for name, output in outputs.items()}
np.savez(f"{sys.argv[1]}/outputs.npz", **outputs)
"""
    run_python(code, folder, backend=backend)
    return dict(np.load(folder / "outputs.npz"))


def constructor_arguments(layer_class):
    """The names of a class's own constructor arguments."""
    parameters = inspect.signature(layer_class.__init__).parameters.values()
    return [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD]


# === The harness ===


def run_layer_test(
    layer_class,
    arguments,
    inputs,
    expected_output_shape,
    expected_num_weights,
    expected_num_parameters=None,
    call_arguments=None,
    trainable=True,
    run_training=True,
    run_mixed_precision=True,
    float_tolerance=5e-2,
):
    """Checks what every layer of the library must do.

    Args:
        layer_class: the class.
        arguments: constructor arguments.
        inputs: a shape for a layer of one float input, or a dict of arrays by argument name.
        expected_output_shape: shape of the output for `inputs`.
        expected_num_weights: number of trainable weights.
        expected_num_parameters: number of trainable parameters, where it is to be checked.
        call_arguments: other arguments of `call` (masks, flags).
        trainable: whether the layer has weights that a training step must change.
        run_training: whether to make that step.
        run_mixed_precision: whether to compare half precision with float32.
        float_tolerance: largest difference allowed there, relative to the largest output.

    Returns:
        The built layer, with random weights.
    """
    inputs = {"": normal(*inputs)} if isinstance(inputs, tuple) else dict(inputs)
    call_arguments = call_arguments or {}
    check_config(layer_class, arguments)
    layer = layer_class(**arguments)
    output = _call(layer, inputs, call_arguments)
    assert tuple(output.shape) == expected_output_shape
    assert len(layer.trainable_weights) == expected_num_weights, [
        weight.path for weight in layer.trainable_weights
    ]
    if expected_num_parameters is not None:
        count = sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights)
        assert count == expected_num_parameters
    check_weights_have_distinct_paths(layer)
    randomize(layer)
    check_symbolic_shapes(layer_class, arguments, inputs, call_arguments, expected_output_shape)
    if run_mixed_precision:
        check_mixed_precision(layer, inputs, call_arguments, float_tolerance)
    if run_training and trainable:
        check_training_step(layer_class, arguments, inputs, call_arguments)
    return layer


def _call(layer, inputs, call_arguments, **more):
    if list(inputs) == [""]:
        return layer(inputs[""], **call_arguments, **more)
    return layer(**inputs, **call_arguments, **more)


def check_config(layer_class, arguments):
    """Every constructor argument is in the config, and comes back from it with its value."""
    layer = layer_class(**arguments, name="some_name", dtype="mixed_bfloat16", trainable=False)
    config = layer.get_config()
    missing = set(constructor_arguments(layer_class)) - set(config)
    assert not missing, f"{layer_class.__name__}.get_config lacks {sorted(missing)}."
    for revived in (
        layer_class.from_config(layer.get_config()),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)),
    ):
        assert type(revived) is layer_class
        assert revived.get_config() == config
        assert revived.name == "some_name" and not revived.trainable
        assert revived.dtype_policy.name == "mixed_bfloat16"
        for name, value in arguments.items():
            if isinstance(value, (bool, int, float)):
                assert getattr(revived, name) == value, name
            if name == "activation":
                assert getattr(revived, name).__name__ in (value, "silu"), name
    serialized = keras.saving.serialize_keras_object(layer)
    assert serialized["registered_name"] == f"{PACKAGE}>{layer_class.__name__}"


def check_weights_have_distinct_paths(layer):
    """Checkpoints name weights by path: two of one path could not be told apart."""
    paths = [weight.path for weight in layer.weights]
    assert len(paths) == len(set(paths)), paths


def check_symbolic_shapes(layer_class, arguments, inputs, call_arguments, expected_shape):
    """Shapes known before the call are those of the call; open axes stay open."""
    fixed = {name: keras.KerasTensor(x.shape, str(x.dtype)) for name, x in inputs.items()}
    symbolic = _call(layer_class(**arguments), fixed, call_arguments)
    assert tuple(symbolic.shape) == expected_shape
    if call_arguments:
        return  # masks of a fixed length would close the axes again
    open_axes = {
        name: keras.KerasTensor((None,) * (x.ndim - 1) + x.shape[-1:], str(x.dtype))
        if x.dtype.kind == "f" and x.ndim == 3
        else keras.KerasTensor((None, None, *x.shape[2:]), str(x.dtype))
        for name, x in inputs.items()
    }
    symbolic = _call(layer_class(**arguments), open_axes, call_arguments)
    if len(expected_shape) == 4:
        open_sizes = {size for x in inputs.values() for size in x.shape[:2]}
        expected = tuple(None if size in open_sizes else size for size in expected_shape)
    else:
        kept = min(2, len(expected_shape) - 1)  # the batch alone where the positions are pooled
        expected = (None,) * kept + expected_shape[kept:]
    assert tuple(symbolic.shape) == expected


def check_mixed_precision(layer, inputs, call_arguments, tolerance):
    """Half precision returns its own dtype and about the values of float32."""
    more = {"training": False} if "training" in inspect.signature(layer.call).parameters else {}
    expected = to_numpy(_call(layer, inputs, call_arguments, **more))
    for policy, dtype in (("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")):
        half = type(layer).from_config(_with_dtype(layer.get_config(), policy))
        _call(half, inputs, call_arguments)
        half.set_weights(layer.get_weights())
        assert {w.dtype for w in half.trainable_weights} <= {"float32"}
        output = _call(half, inputs, call_arguments, **more)
        assert keras.backend.standardize_dtype(output.dtype) == dtype
        difference = np.abs(to_numpy(output) - expected).max()
        assert difference <= tolerance * max(1.0, np.abs(expected).max()), (policy, difference)


def _with_dtype(config, policy):
    """Sets the dtype of a layer's config and of the layers given to its constructor."""
    config = {**config, "dtype": policy}
    for name, value in config.items():
        if isinstance(value, dict) and "dtype" in value.get("config", {}):
            config[name] = {**value, "config": _with_dtype(value["config"], policy)}
    return config


def check_training_step(layer_class, arguments, inputs, call_arguments):
    """One step of plain `fit` changes every weight of the layer."""
    model = functional_model(layer_class(**arguments), inputs, call_arguments)
    layer = model.layers[-1]
    randomize(layer)
    before = [np.array(weight) for weight in layer.get_weights()]
    inputs = named(inputs)
    target = normal(*model(inputs).shape, seed=3)
    # One step is faster run than compiled; the tests that train to an end compile theirs.
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(inputs, target, verbose=0, batch_size=len(target))
    for weight, old in zip(layer.weights, before, strict=True):
        new = ops.convert_to_numpy(weight)
        assert np.isfinite(new).all(), weight.path
        # A softmax does not change when a constant is added to all of its scores, so that nothing
        # ever reaches the bias of the keys (without rotary positions).
        if any(weight is one for one in layer.trainable_weights) and "key/bias" not in weight.path:
            assert not np.array_equal(new, old), f"{weight.path} did not change"


def named(inputs):
    """Inputs by the names that a functional model gives them."""
    return {name or "inputs": value for name, value in inputs.items()}


def functional_model(layer, inputs, call_arguments=None):
    """A functional model of one layer, with one input for each of its tensor arguments."""
    symbolic = {
        name: keras.Input(x.shape[1:], dtype=str(x.dtype), name=name or "inputs")
        for name, x in inputs.items()
    }
    return keras.Model(named(symbolic), _call(layer, symbolic, call_arguments or {}))


def check_save_and_load(layer, inputs, path):
    """A saved model gives the same outputs after it was loaded, without custom objects."""
    model = functional_model(layer, inputs)
    randomize(layer, seed=5)
    expected = to_numpy(model(named(inputs)))
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert type(loaded.layers[-1]) is type(layer)
    actual = to_numpy(loaded(named(inputs)))
    for one, other in zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(one, other)
