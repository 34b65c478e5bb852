"""Every layer, with each argument that changes what it computes, through the one harness."""

import collections

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import check_save_and_load, run_layer_test
from tests.layers.cases import CASES, OF_HEADS, PADDED, SOURCE_PADDED, B, D, S, T, given

# Tracing a stack for a training step takes TensorFlow more than two seconds.
STACKS = {"encoder", "decoder", "decoder_block", "recurrent_encoder", "recurrent_decoder_bahdanau"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in STACKS else ()) for n in CASES]
)
def test_layer_passes_the_harness(name):
    layer_class, arguments, inputs, shape, num_weights, num_parameters = CASES[name]
    run_layer_test(
        layer_class,
        arguments,
        inputs,
        shape,
        num_weights,
        num_parameters,
        trainable=num_weights > 0,
        # One output for all rows of a batch is no target for `fit`: it learns inside an attention.
        run_training=not name.startswith("relative_bias"),
        run_mixed_precision=name not in OF_HEADS,
    )


@pytest.mark.parametrize("name", CASES)
def test_saved_layer_gives_the_same_outputs(name, tmp_path):
    layer_class, arguments, inputs, _, _, _ = CASES[name]
    inputs = given(inputs)
    config = layer_class(**arguments).get_config()
    check_save_and_load(layer_class.from_config(config), inputs, tmp_path / "model.keras")


def test_every_public_layer_is_here_twice():
    layers = {getattr(kt.layers, name) for name in kt.layers.__all__}
    classes = {one for one in layers if isinstance(one, type)}
    counts = collections.Counter(case[0] for case in CASES.values())
    assert classes == set(counts)
    assert min(counts.values()) >= 2, counts


@pytest.mark.parametrize(
    ("name", "call_arguments"),
    [
        ("attention", {"padding_mask": SOURCE_PADDED}),
        ("attention", {"attention_mask": np.ones((T, S), bool)}),
        ("self_attention_causal_rotary", {"padding_mask": PADDED}),
        ("encoder_block_pre_norm", {"padding_mask": PADDED}),
        ("decoder_block", {"padding_mask": PADDED, "encoded_padding_mask": SOURCE_PADDED}),
        ("encoder", {"attention_mask": np.ones((B, T, T), bool)}),
        ("decoder", {"attention_mask": np.ones((B, 4, T, T), bool)}),
    ],
)
def test_layer_with_masks_in_half_precision(name, call_arguments):
    layer_class, arguments, inputs, shape, num_weights, _ = CASES[name]
    run_layer_test(
        layer_class,
        arguments,
        inputs,
        shape,
        num_weights,
        call_arguments=call_arguments,
        run_training=False,
    )


def test_initializers_give_each_weight_its_own_values():
    initializer = keras.initializers.RandomNormal(stddev=1.0)
    attention = kt.layers.MultiHeadAttention(4, kernel_initializer=initializer)
    attention.build((None, None, D))
    kernels = [
        keras.ops.convert_to_numpy(w) for w in attention.weights if w.path.endswith("kernel")
    ]
    for index, kernel in enumerate(kernels):
        assert kernel.std() > 0.5
        for other in kernels[:index]:
            assert not np.array_equal(kernel, other)


def test_query_key_and_value_start_as_one_glorot_matrix():
    """Their bound is that of torch's one input projection; the other kernels have their own."""
    width, heads = 64, 4
    block = kt.layers.TransformerEncoderBlock(heads, 128)
    block.build((None, None, width))
    attention, feed_forward = block.self_attention.attention, block.feed_forward
    kernels = {
        np.sqrt(6 / (width + 3 * width)): ("query_dense", "key_dense", "value_dense"),
        np.sqrt(6 / (width + width)): ("output_dense",),
    }
    for bound, names in kernels.items():
        for name in names:
            largest = np.abs(keras.ops.convert_to_numpy(getattr(attention, name).kernel)).max()
            assert 0.98 * bound < largest <= bound * (1 + 1e-6), name
    largest = np.abs(keras.ops.convert_to_numpy(feed_forward.intermediate_dense.kernel)).max()
    assert 0.98 * np.sqrt(6 / (width + 128)) < largest <= np.sqrt(6 / (width + 128)) * (1 + 1e-6)


def test_an_explicit_initializer_is_taken_as_it_is():
    attention = kt.layers.MultiHeadAttention(4, kernel_initializer="glorot_uniform")
    attention.build((None, None, 64))
    largest = np.abs(keras.ops.convert_to_numpy(attention.query_dense.kernel)).max()
    assert largest > 0.98 * np.sqrt(6 / (64 + 64))
