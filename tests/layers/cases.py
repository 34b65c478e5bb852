"""Every layer with each argument that changes what it computes: what all harnesses go through."""

import numpy as np

import keras_transformer as kt
from tests.harness import normal, token_ids

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
            "block": kt.layers.TransformerEncoderBlock(**BLOCK),
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
        {
            "num_layers": 1,
            "block": kt.layers.TransformerEncoderBlock(
                2,
                17,
                normalize_first=True,
                rotary=True,
                num_key_value_heads=1,
                activation="gelu_approximate",
            ),
        },
        X,
        X,
        18,
        2 * (D * D + D) + 2 * (D * 6 + 6) + FEED_FORWARD + 3 * NORM,
    ),
    "decoder": (
        kt.layers.TransformerDecoder,
        {"num_layers": 2, "block": kt.layers.DecoderBlock(**BLOCK)}
        | {"positional_encoding": kt.layers.PositionalEncoding()},
        decoder_inputs(),
        X,
        52,
        2 * (2 * ATTENTION + FEED_FORWARD + 3 * NORM),
    ),
    "decoder_pre_norm_learned": (
        kt.layers.TransformerDecoder,
        {
            "num_layers": 1,
            "block": kt.layers.DecoderBlock(
                **BLOCK,
                normalize_first=True,
                cross_attention=False,
                causal=False,
                num_key_value_heads=2,
                use_attention_bias=False,
            ),
            "positional_encoding": kt.layers.LearnedPositionalEmbedding(T),
            "input_dropout": 0.1,
        },
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
CASES["decoder_shared_relative"] = (
    kt.layers.TransformerDecoder,
    {
        "num_layers": 3,
        "block": kt.layers.DecoderBlock(**BLOCK, relative_positions="t5"),
        "share_relative_positions": True,
    },
    decoder_inputs(),
    X,
    79,
    3 * (2 * ATTENTION + FEED_FORWARD + 3 * NORM) + 32 * BLOCK["num_heads"],
)
CASES["token_embedding_scaled_logits"] = (
    kt.layers.TokenEmbedding,
    {"vocabulary_size": 13, "hidden_dim": 11, "scale_logits": True},
    {"inputs": token_ids(3, T, vocabulary_size=13)},
    (3, T, 11),
    1,
    13 * 11,
)
# Heads make four axes, of which only the first two may stand open.
OF_HEADS = {"rotary", "relative_keys", "relative_bias", "linear_bias"}

# One configuration of a class hides what another one would show.
CASES |= {
    "ssru_other_start": (
        kt.layers.SSRU,
        {"kernel_initializer": "he_normal"},
        X,
        X,
        3,
        2 * D * D + D,
    ),
    "bahdanau_attention_plain": (
        kt.layers.BahdanauAttention,
        {},
        pair(),
        X,
        4,
        2 * D * D + 2 * D,
    ),
    "recurrent_encoder_plain": (
        kt.layers.RecurrentEncoder,
        {"hidden_dim": 11, "cell": "simple"},
        X,
        (B, T, 11),
        3,
        D * 11 + 11 * 11 + 11,
    ),
    "convolutional_encoder_plain": (
        kt.layers.ConvolutionalEncoder,
        {"num_layers": 1},
        X,
        X,
        2,
        3 * D * D + D,
    ),
    "sequence_pooling_ends": (kt.layers.SequencePooling, {"pooling": "ends"}, X, (B, D), 0, 0),
    "learned_positions_random": (
        kt.layers.LearnedPositionalEmbedding,
        {"max_length": 7},
        X,
        X,
        1,
        7 * D,
    ),
    "class_token_zero": (kt.layers.ClassToken, {}, X, (B, 1 + T, D), 1, D),
    "rotary_default": (
        kt.layers.RotaryEmbedding,
        {},
        {"inputs": normal(2, 5, 3, 8)},
        (2, 5, 3, 8),
        0,
        0,
    ),
    "relative_keys_default": (kt.layers.RelativePositionKeys, {}, HEADS, (2, 3, 5, 5), 1, 33 * 8),
    "relative_bias_default": (kt.layers.RelativePositionBias, {}, HEADS, (1, 3, 5, 5), 1, 32 * 3),
    "linear_bias_default": (kt.layers.LinearPositionBias, {}, HEADS, (1, 3, 5, 5), 0, 0),
}
OF_HEADS |= {f"{name}_default" for name in OF_HEADS}


def given(inputs):
    """The inputs of a case by the names of the arguments of `call`; "" for the only one."""
    return {"": normal(*inputs)} if isinstance(inputs, tuple) else dict(inputs)
