"""Settings out of their range are refused by name, in each layer that takes them."""

import pytest

import keras_transformer as kt
from keras_transformer.layers.serialization import argument_names
from tests.layers.cases import CASES

# By argument what it must not be. A name means one thing in all layers.
WRONG = {
    "activation_dropout": (-0.1, 1.0, True, float("nan")),
    "attention_dropout": (-0.1, 1.0, True, float("nan")),
    "bidirectional": (0, 1, "yes"),
    "causal": (0, 2, None),
    "cross_attention": (0, 2, None),
    "dropout": (-0.1, 1.0, True, float("nan")),
    "first_position": (-1, 1.5, True),
    "gated": (0, 2, None),
    "head_dim": (0, -2, 1.5, True),
    "hidden_dim": (0, -2, 1.5, True),
    "input_dropout": (-0.1, 1.0, True, float("nan")),
    "intermediate_dim": (0, -2, 1.5, True),
    "kernel_size": (0, -1, 4, 1.5, True),
    "layer_norm_epsilon": (0, -2, 0.0, True, "small", float("nan"), float("inf")),
    "max_distance": (0, -2, 1.5, True),
    "max_exponent": (0, -2, 1.5, True),
    "max_length": (0, -2, 1.5, True),
    "max_wavelength": (1, 0.5, -2, True, float("nan"), float("inf")),
    "normalize_first": (0, 2, None),
    "num_buckets": (0, 1, 1.5, True),
    "num_heads": (0, -2, 1.5, True),
    "num_key_value_heads": (0, -2, 5, 1.5, True),
    "num_layers": (0, -2, 1.5, True),
    "output_bias": (0, 2, None),
    "padding_id": (-1, 1.5, True),
    "rematerialize": (0, 2, None),
    "attention_implementation": ("fast", None),
    "attention_scale": (0, -1.0, True, float("nan"), float("inf")),
    "block": (None, 3, "encoder", []),
    "fraction": (0, -0.5, 1.5, True),
    "implementation": ("fast", None),
    "norm": ("batch", None, True),
    "query_key_norm": ("batch", True),
    "rotary": (0, 2, -2, 1.5, None, kt.layers.PositionalEncoding()),
    "scale": (0, 2, None),
    "scale_logits": (0, 2, None),
    "scaling": (2.0, {"factor": 2.0}, {"kind": "yarn", "factor": 2.0}),
    "share_relative_positions": (0, 2, None, True),
    "start_is_padding": (0, 2, None),
    "units": (0, -2, 1.5, True),
    "use_attention_bias": (0, 2, None),
    "use_attention_output_bias": (0, 2),
    "use_bias": (0, 2, None),
    "use_feed_forward_bias": (0, 2, None),
    "use_norm_bias": (0, 2, None),
    "use_output_bias": (0, 2),
    "vocabulary_size": (0, -2, 1.5, True),
    "window": (0, -2, 1.5, True),
}
# Whatever Keras takes, and what has tests of its own.
ELSEWHERE = {
    "activation",
    "attention",
    "bias_initializer",
    "cell",
    "embeddings_initializer",
    "kernel_initializer",
    "layout",
    "pooling",
    "positional_encoding",
    "recurrence",
    "relative_positions",
    "score",
}
CLASSES = {case[0]: case[1] for case in reversed(CASES.values())}


def arguments_of(layer_class):
    return set(argument_names(layer_class))


def test_every_argument_of_every_layer_is_here():
    arguments = set().union(*map(arguments_of, CLASSES))
    assert arguments == {*WRONG, *ELSEWHERE}


@pytest.mark.parametrize(
    ("layer_class", "name", "value"),
    [
        (layer_class, name, value)
        for layer_class in CLASSES
        for name in sorted(arguments_of(layer_class) & set(WRONG))
        for value in WRONG[name]
    ],
)
def test_a_value_out_of_range_is_refused_by_name(layer_class, name, value):
    # Of a block's dropout inside a stack, the name is that of the stack's argument.
    with pytest.raises(ValueError, match=f"`{name}`.*Received: .*{name}="):
        layer_class(**{**CLASSES[layer_class], name: value})


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: kt.models.gpt(20, 1, 2, hidden_dim=8, intermediate_dim=16, **more),
        lambda **more: kt.models.transformer(
            20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, **more
        ),
        lambda **more: kt.models.bert(20, 1, 2, hidden_dim=8, intermediate_dim=16, **more),
        lambda **more: kt.models.vit(
            8, 4, 3, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16, **more
        ),
    ],
)
def test_so_it_is_by_models(make):
    for value in (0, -2):
        with pytest.raises(ValueError, match=f"`layer_norm_epsilon`.*layer_norm_epsilon={value}"):
            make(layer_norm_epsilon=value)
