"""Every layer, with each argument that changes what it computes, through the one harness."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import check_save_and_load, normal, run_layer_test, token_ids

B, T, S, D = 2, 5, 7, 12
X = (B, T, D)
ATTENTION = 4 * (D * D + D)
FEED_FORWARD = 2 * D * 17 + 17 + D
NORM = 2 * D
PADDED = np.array([[True] * 5, [True, True, True, False, False]])
SOURCE_PADDED = np.array([[True] * 7, [False, True, True, True, True, False, False]])


def pair(source_dim=D):
    return {"query": normal(B, T, D), "key_value": normal(B, S, source_dim, seed=1)}


def decoder_inputs(source_dim=D):
    return {"inputs": normal(B, T, D), "encoded": normal(B, S, source_dim, seed=1)}


# (layer, arguments, inputs, output shape, number of weights, number of parameters, call arguments)
BLOCK = {"num_heads": 4, "intermediate_dim": 17}
CASES = {
    "attention": (kt.layers.MultiHeadAttention, {"num_heads": 4}, pair(), X, 8, ATTENTION),
    "attention_other_width": (
        kt.layers.MultiHeadAttention,
        {"num_heads": 4, "dropout": 0.1},
        pair(11),
        X,
        8,
        2 * (D * D + D) + 2 * (11 * D + D),
    ),
    "attention_grouped_no_bias": (
        kt.layers.MultiHeadAttention,
        {"num_heads": 6, "head_dim": 5, "num_key_value_heads": 2, "use_bias": False},
        pair(),
        X,
        4,
        2 * D * 30 + 2 * D * 10,
    ),
    "attention_multi_query": (
        kt.layers.MultiHeadAttention,
        {"num_heads": 3, "num_key_value_heads": 1, "bias_initializer": "ones"},
        pair(),
        X,
        8,
        2 * (D * D + D) + 2 * (D * 4 + 4),
    ),
    "self_attention": (
        kt.layers.MultiHeadSelfAttention,
        {"num_heads": 4, "dropout": 0.1},
        X,
        X,
        8,
        ATTENTION,
    ),
    "self_attention_causal_rotary": (
        kt.layers.MultiHeadSelfAttention,
        {"num_heads": 3, "head_dim": 2, "causal": True, "rotary": True, "use_bias": False},
        X,
        X,
        4,
        4 * D * 6,
    ),
    "self_attention_multi_query": (
        kt.layers.MultiHeadSelfAttention,
        {"num_heads": 4, "num_key_value_heads": 1, "kernel_initializer": "he_normal"},
        X,
        X,
        8,
        2 * (D * D + D) + 2 * (D * 3 + 3),
    ),
    "ssru": (kt.layers.SSRU, {"bias_initializer": "ones"}, X, X, 3, 2 * D * D + D),
    "luong_attention": (
        kt.layers.LuongAttention,
        {"score": "general"},
        pair(11),
        (B, T, 11),
        1,
        11 * D,
    ),
    "luong_attention_dot": (kt.layers.LuongAttention, {"score": "dot"}, pair(), X, 0, 0),
    "bahdanau_attention": (
        kt.layers.BahdanauAttention,
        {"units": 17},
        pair(11),
        (B, T, 11),
        4,
        D * 17 + 11 * 17 + 17 + 17,
    ),
    "recurrent_encoder": (
        kt.layers.RecurrentEncoder,
        {"hidden_dim": 11, "cell": "gru", "num_layers": 2, "bidirectional": True, "dropout": 0.1},
        X,
        (B, T, 22),
        12,
        2 * 3 * (D * 11 + 11 * 11 + 2 * 11) + 2 * 3 * (22 * 11 + 11 * 11 + 2 * 11),
    ),
    "recurrent_decoder": (
        kt.layers.RecurrentDecoder,
        {"hidden_dim": 11, "cell": "lstm", "attention": "luong", "dropout": 0.1},
        decoder_inputs(13),
        (B, T, 11),
        3 + 4 + 1 + 2,
        4 * (D * 11 + 11 * 11 + 11) + 2 * (13 * 11 + 11) + 13 * 11 + 24 * 11 + 11,
    ),
    "recurrent_decoder_bahdanau": (
        kt.layers.RecurrentDecoder,
        {"hidden_dim": 11, "cell": "simple", "attention": "bahdanau", "num_layers": 2}
        | {"bidirectional": True},
        decoder_inputs(14),
        (B, T, 11),
        6 + 4 + 4 + 2,
        (26 * 11 + 11 * 11 + 11)
        + (11 * 11 + 11 * 11 + 11)
        + 2 * (14 * 11 + 11)
        + (11 * 11 + 14 * 11 + 2 * 11)
        + (25 * 11 + 11),
    ),
    "convolutional_encoder": (
        kt.layers.ConvolutionalEncoder,
        {"num_layers": 2, "kernel_size": 5, "dropout": 0.1, "activation": "tanh"},
        X,
        X,
        4,
        2 * (5 * D * D + D),
    ),
    "sequence_pooling": (kt.layers.SequencePooling, {"pooling": "max"}, X, (B, D), 0, 0),
    "feed_forward": (
        kt.layers.FeedForward,
        {"intermediate_dim": 17, "activation": "gelu_approximate", "dropout": 0.1},
        X,
        X,
        4,
        FEED_FORWARD,
    ),
    "feed_forward_no_bias": (
        kt.layers.FeedForward,
        {"intermediate_dim": 17, "activation": "swish", "use_bias": False},
        X,
        X,
        2,
        2 * D * 17,
    ),
    "encoder_block": (
        kt.layers.TransformerEncoderBlock,
        BLOCK,
        X,
        X,
        16,
        ATTENTION + FEED_FORWARD + 2 * NORM,
    ),
    "encoder_block_pre_norm": (
        kt.layers.TransformerEncoderBlock,
        {
            "num_heads": 6,
            "intermediate_dim": 17,
            "dropout": 0.2,
            "activation": "gelu_approximate",
            "normalize_first": True,
            "layer_norm_epsilon": 1e-3,
            "attention_dropout": 0.1,
            "activation_dropout": 0.3,
            "num_key_value_heads": 2,
            "use_attention_bias": False,
            "rotary": True,
        },
        X,
        X,
        12,
        2 * D * D + 2 * D * 4 + FEED_FORWARD + 2 * NORM,
    ),
    "decoder_block": (
        kt.layers.DecoderBlock,
        BLOCK,
        decoder_inputs(11),
        X,
        26,
        2 * ATTENTION - 2 * D + FEED_FORWARD + 3 * NORM,
    ),
    "decoder_block_pre_norm": (
        kt.layers.DecoderBlock,
        {
            "num_heads": 6,
            "intermediate_dim": 17,
            "cross_attention": False,
            "dropout": 0.2,
            "activation": "gelu",
            "normalize_first": True,
            "layer_norm_epsilon": 1e-3,
            "attention_dropout": 0.1,
            "activation_dropout": 0.3,
            "num_key_value_heads": 3,
            "use_attention_bias": False,
            "rotary": True,
            "causal": False,
        },
        X,
        X,
        12,
        2 * D * D + 2 * D * 6 + FEED_FORWARD + 2 * NORM,
    ),
    "encoder": (
        kt.layers.TransformerEncoder,
        {
            "num_layers": 2,
            **BLOCK,
            "positional_encoding": kt.layers.PositionalEncoding("tensor2tensor"),
            "input_dropout": 0.1,
        },
        X,
        X,
        32,
        2 * (ATTENTION + FEED_FORWARD + 2 * NORM),
    ),
    "encoder_pre_norm_rotary": (
        kt.layers.TransformerEncoder,
        {"num_layers": 1, "num_heads": 2, "intermediate_dim": 17, "normalize_first": True}
        | {"rotary": True, "num_key_value_heads": 1, "activation": "gelu_approximate"},
        X,
        X,
        18,
        2 * (D * D + D) + 2 * (D * 6 + 6) + FEED_FORWARD + 3 * NORM,
    ),
    "decoder": (
        kt.layers.TransformerDecoder,
        {"num_layers": 2, **BLOCK, "positional_encoding": kt.layers.PositionalEncoding()},
        decoder_inputs(),
        X,
        52,
        2 * (2 * ATTENTION + FEED_FORWARD + 3 * NORM),
    ),
    "decoder_pre_norm_learned": (
        kt.layers.TransformerDecoder,
        {"num_layers": 1, **BLOCK, "normalize_first": True, "cross_attention": False}
        | {"positional_encoding": kt.layers.LearnedPositionalEmbedding(T), "causal": False}
        | {"input_dropout": 0.1, "num_key_value_heads": 2, "use_attention_bias": False},
        X,
        X,
        15,
        2 * D * D + 2 * D * 6 + FEED_FORWARD + 3 * NORM + T * D,
    ),
    "token_embedding": (
        kt.layers.TokenEmbedding,
        {"vocabulary_size": 13, "hidden_dim": 11},
        {"inputs": token_ids(3, T, vocabulary_size=13)},
        (3, T, 11),
        1,
        13 * 11,
    ),
    "token_embedding_plain": (
        kt.layers.TokenEmbedding,
        {"vocabulary_size": 13, "hidden_dim": 11, "scale": False, "padding_id": None}
        | {"embeddings_initializer": "ones"},
        {"inputs": token_ids(3, T, vocabulary_size=13)},
        (3, T, 11),
        1,
        13 * 11,
    ),
    "learned_positions": (
        kt.layers.LearnedPositionalEmbedding,
        {"max_length": T, "embeddings_initializer": "zeros"},
        X,
        X,
        1,
        T * D,
    ),
    "class_token": (
        kt.layers.ClassToken,
        {"embeddings_initializer": "ones"},
        X,
        (B, 1 + T, D),
        1,
        D,
    ),
}
for layout in ("interleaved", "concatenated", "tensor2tensor"):
    CASES[f"positions_{layout}"] = (
        kt.layers.PositionalEncoding,
        {"layout": layout, "max_wavelength": 5000.0, "first_position": 3},
        X,
        X,
        0,
        0,
    )
CASES["rotary"] = (
    kt.layers.RotaryEmbedding,
    {"max_wavelength": 500.0},
    {"inputs": normal(2, 5, 3, 8)},
    (2, 5, 3, 8),
    0,
    0,
)
HEADS = {"query": normal(2, 5, 3, 8)}
CASES["relative_keys"] = (
    kt.layers.RelativePositionKeys,
    {"max_distance": 3},
    HEADS,
    (2, 3, 5, 5),
    1,
    7 * 8,
)
CASES["relative_bias"] = (
    kt.layers.RelativePositionBias,
    {"num_buckets": 6, "max_distance": 9, "bidirectional": False},
    HEADS,
    (1, 3, 5, 5),
    1,
    6 * 3,
)
CASES["linear_bias"] = (
    kt.layers.LinearPositionBias,
    {"max_exponent": 6},
    HEADS,
    (1, 3, 5, 5),
    0,
    0,
)
CASES["self_attention_relative"] = (
    kt.layers.MultiHeadSelfAttention,
    {"num_heads": 4, "relative_positions": "shaw", "window": 2},
    X,
    X,
    9,
    ATTENTION + 33 * 3,
)
CASES["encoder_block_gated_relative"] = (
    kt.layers.TransformerEncoderBlock,
    {
        **BLOCK,
        "gated": True,
        "relative_positions": kt.layers.RelativePositionBias(num_buckets=8, max_distance=20),
    },
    X,
    X,
    19,
    ATTENTION + FEED_FORWARD + D * 17 + 17 + 2 * NORM + 8 * BLOCK["num_heads"],
)
# Heads make four axes, of which only the first two may stand open.
OF_HEADS = {"rotary", "relative_keys", "relative_bias", "linear_bias"}
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
        run_training=name != "relative_bias",
        run_mixed_precision=name not in OF_HEADS,
    )


@pytest.mark.parametrize("name", CASES)
def test_saved_layer_gives_the_same_outputs(name, tmp_path):
    layer_class, arguments, inputs, _, _, _ = CASES[name]
    inputs = {"": normal(*inputs)} if isinstance(inputs, tuple) else inputs
    config = layer_class(**arguments).get_config()
    check_save_and_load(layer_class.from_config(config), inputs, tmp_path / "model.keras")


def test_every_public_layer_is_here():
    layers = {getattr(kt.layers, name) for name in kt.layers.__all__}
    classes = {one for one in layers if isinstance(one, type)}
    assert classes == {case[0] for case in CASES.values()}


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
