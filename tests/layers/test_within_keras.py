"""Every layer where Keras's users put layers: what it announces, and what it gives there."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.layers.serialization import argument_names
from tests.harness import (
    assert_close,
    functional_model,
    make_decoder,
    make_encoder,
    named,
    normal,
    randomize,
    to_numpy,
)
from tests.layers.cases import CASES, OF_HEADS, D, T, given

ALONE = [name for name, case in CASES.items() if isinstance(case[2], tuple)]


def call(layer, inputs):
    more = {"training": False} if "training" in inspect.signature(layer.call).parameters else {}
    if list(inputs) == [""]:
        return layer(inputs[""], **more)
    return layer(**inputs, **more)


def symbols(inputs):
    return {name: keras.KerasTensor(x.shape, str(x.dtype)) for name, x in inputs.items()}


@pytest.mark.parametrize("name", CASES)
def test_announced_shape_is_that_of_the_output(name):
    layer_class, arguments, inputs, shape, *_ = CASES[name]
    layer, inputs = layer_class(**arguments), given(inputs)
    shapes = [x.shape for x in inputs.values()]
    if name.startswith("recurrent_decoder") or len(shapes) == 1:
        assert layer.compute_output_shape(*shapes) == shape  # not built, nor called
    else:
        names = {f"{argument}_shape": x.shape for argument, x in inputs.items()}
        assert layer.compute_output_shape(**names) == shape
    assert not layer.built
    open_batch = [(None, *one[1:]) for one in shapes]
    first = shape[0] if name.startswith(("relative_bias", "linear_bias")) else None
    assert layer.compute_output_shape(*open_batch) == (first, *shape[1:])


# Without jax_enable_x64 JAX has no float64; and it compiles for each policy anew.
POLICIES = ("mixed_bfloat16", "float16", "float64")
POLICIES = POLICIES[:1] if keras.backend.backend() == "jax" else POLICIES


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", CASES)
def test_announced_dtype_is_that_of_the_output(name, policy):
    layer_class, arguments, inputs, shape, *_ = CASES[name]
    inputs = given(inputs)
    layer = layer_class(**arguments, dtype=policy)
    symbolic = call(layer, symbols(inputs))
    output = call(layer, inputs)
    assert symbolic.shape == tuple(output.shape) == shape
    assert symbolic.dtype == keras.backend.standardize_dtype(output.dtype)
    if name not in OF_HEADS:  # of these some give scores, in float32
        assert symbolic.dtype == layer.compute_dtype


@pytest.mark.parametrize("name", ALONE)
def test_time_distributed_is_a_loop(name):
    layer_class, arguments, shape, *_ = CASES[name]
    wrapper = keras.layers.TimeDistributed(layer_class(**arguments))
    x = normal(shape[0], 3, *shape[1:])
    assert wrapper(keras.Input(x.shape[1:])).shape[1:] == wrapper.compute_output_shape(x.shape)[1:]
    randomize(wrapper.layer)
    expected = [to_numpy(call(wrapper.layer, {"": x[:, i]})) for i in range(3)]
    assert_close(wrapper(x, training=False), np.stack(expected, axis=1), tolerance=1e-5)


class Subclassed(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs, training=None):
        inputs = inputs if isinstance(inputs, dict) else {"": inputs}
        return call(self.layer, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_layer_in_models_of_every_kind(name):
    layer_class, arguments, inputs, *_ = CASES[name]
    layer, inputs = layer_class(**arguments), given(inputs)
    pairs = [(functional_model(layer, inputs), named(inputs)) for _ in range(2)]
    pairs.append((Subclassed(layer), inputs.get("", inputs)))
    randomize(layer)
    expected, count = to_numpy(call(layer, inputs)), len(layer.weights)
    if list(inputs) == [""]:
        sequential = keras.Sequential([keras.Input(inputs[""].shape[1:]), layer])
        pairs.append((sequential, inputs[""]))
    for model, of_model in pairs:
        assert_close(model(of_model, training=False), expected, tolerance=1e-6)
        assert len(model.weights) == len({id(w) for w in model.weights}) == count


@pytest.mark.parametrize("name", [n for n in CASES if "dropout" in str(CASES[n][1])])
def test_dropout_follows_the_seed_and_no_two_layers_drop_the_same(name):
    layer_class, arguments, inputs, *_ = CASES[name]
    inputs = given(inputs)
    rate = "dropout" if "dropout" in argument_names(layer_class) else "input_dropout"

    def outputs():
        keras.utils.set_random_seed(7)
        first = layer_class(**{**arguments, rate: 0.5})
        second = layer_class.from_config(first.get_config())
        results = []
        for layer in (first, second):
            call(layer, inputs)
            layer.set_weights(first.get_weights())
            arguments_of_call = inputs.get("") if "" in inputs else None
            if arguments_of_call is not None:
                results.append(to_numpy(layer(arguments_of_call, training=True)))
            else:
                results.append(to_numpy(layer(**inputs, training=True)))
        return results

    (first, second), (again, _) = outputs(), outputs()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


WRONG_RANKS = {
    "PositionalEncoding": (kt.layers.PositionalEncoding, {}, 3),
    "LearnedPositionalEmbedding": (kt.layers.LearnedPositionalEmbedding, {"max_length": 8}, 3),
    "RotaryEmbedding": (kt.layers.RotaryEmbedding, {}, 4),
    "RelativePositionBias": (kt.layers.RelativePositionBias, {}, 4),
    "RelativePositionKeys": (kt.layers.RelativePositionKeys, {}, 4),
    "LinearPositionBias": (kt.layers.LinearPositionBias, {}, 4),
    "ClassToken": (kt.layers.ClassToken, {}, 3),
    "SequencePooling": (kt.layers.SequencePooling, {}, 3),
    "SSRU": (kt.layers.SSRU, {}, 3),
    "RecurrentEncoder": (kt.layers.RecurrentEncoder, {"hidden_dim": 4}, 3),
    "ConvolutionalEncoder": (kt.layers.ConvolutionalEncoder, {"num_layers": 1}, 3),
    "MultiHeadSelfAttention": (kt.layers.MultiHeadSelfAttention, {"num_heads": 2}, 3),
    "TransformerEncoderBlock": (
        kt.layers.TransformerEncoderBlock,
        {"num_heads": 2, "intermediate_dim": 4},
        3,
    ),
    "DecoderBlock": (
        kt.layers.DecoderBlock,
        {"num_heads": 2, "intermediate_dim": 4, "cross_attention": False},
        3,
    ),
    "TransformerEncoder": (
        make_encoder,
        {"num_layers": 1, "num_heads": 2, "intermediate_dim": 4},
        3,
    ),
    "TransformerDecoder": (
        make_decoder,
        {"num_layers": 1, "num_heads": 2, "intermediate_dim": 4, "cross_attention": False},
        3,
    ),
}


@pytest.mark.parametrize("shape", [(1, 6), (3, 5, 6), (2, 1, 4, 6), (3, 5, 1, 6), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("name", WRONG_RANKS)
def test_sequence_of_another_rank_is_refused(name, shape):
    layer_class, arguments, rank = WRONG_RANKS[name]
    if len(shape) == rank:
        pytest.skip("the right rank")
    for build_first in (False, True):
        layer = layer_class(**arguments)
        if build_first:
            layer.build((2, 5, 6) if rank == 3 else (2, 5, 3, 6))
        with pytest.raises(
            ValueError, match=r"must have shape \(batch, length, .*Received: shape="
        ):
            layer(normal(*shape))


def test_every_layer_that_takes_a_sequence_alone_refuses_other_ranks():
    """Position-wise layers take any rank; those of two inputs say so in their own tests."""
    anything = {"FeedForward", "TokenEmbedding"}
    pairs = {"MultiHeadAttention", "LuongAttention", "BahdanauAttention", "RecurrentDecoder"}
    classes = {case[0].__name__ for case in CASES.values()}
    assert classes == {*WRONG_RANKS, *anything, *pairs}


@pytest.mark.parametrize("wrong", ["inputs", "encoded"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: kt.layers.RecurrentDecoder(6),
        lambda: kt.layers.RecurrentDecoder(6, attention="luong"),
        lambda: kt.layers.DecoderBlock(2, 8),
        lambda: make_decoder(1, 2, 8),
    ],
)
def test_decoder_over_a_sequence_of_another_rank_is_refused(make, wrong):
    inputs = {"inputs": normal(2, 3, 6), "encoded": normal(2, 5, 6)}
    layer = make()
    layer(**inputs)
    with pytest.raises(ValueError, match="must have shape"):
        layer(**{**inputs, wrong: normal(2, 3, 4, 6)})


@pytest.mark.parametrize("wrong", ["query", "key_value"])
@pytest.mark.parametrize(
    "layer_class",
    [
        kt.layers.LuongAttention,
        kt.layers.BahdanauAttention,
        lambda: kt.layers.MultiHeadAttention(2),
    ],
)
def test_attention_over_a_sequence_of_another_rank_is_refused(layer_class, wrong):
    inputs = {"query": normal(2, 3, 6), "key_value": normal(2, 5, 6)}
    layer = layer_class()
    layer(**inputs)
    with pytest.raises(ValueError, match=f"`{wrong}` must have shape"):
        layer(**{**inputs, wrong: normal(2, 3, 4, 6)})


@pytest.mark.parametrize("rank", [2, 4])
def test_feed_forward_takes_any_rank(rank):
    layer = kt.layers.FeedForward(17)
    layer.build((None, D))
    randomize(layer)
    x = normal(*(2, 3, T)[: rank - 1], D)
    flat = layer(x.reshape(1, -1, D))
    assert_close(layer(x), ops.reshape(flat, x.shape), tolerance=1e-6)
    assert layer.compute_output_shape(x.shape) == x.shape
