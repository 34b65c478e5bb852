"""Random configurations of models and stacks: all options of a block, in valid combinations.

Everything in a configuration is a plain value, so that a failure prints all that builds the model.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import keras_transformer as kt
from tests.harness import make_decoder, make_encoder, randomize
from tests.memory import forget_programs, forget_written_gradients

V, SOURCE_V, MAX_LENGTH, SOURCE_DIM = 7, 11, 37, 10
SINUSOIDS = ("interleaved", "concatenated", "tensor2tensor")
RELATIVE = {
    "shaw": kt.layers.RelativePositionKeys,
    "t5": kt.layers.RelativePositionBias,
    "alibi": kt.layers.LinearPositionBias,
}
_made = itertools.count(1)


class Configuration(NamedTuple):
    """Everything that builds a model or a stack, and the seed of its weights and inputs."""

    kind: str
    arguments: dict[str, Any]
    seed: int

    def make(self, dtype=None):
        """The model or stack, with random weights everywhere."""
        if next(_made) % 20 == 0:  # a test makes hundreds
            forget_written_gradients()
            forget_programs()
        arguments = {**self.arguments, "dtype": dtype}
        if isinstance(relative := arguments.get("relative_positions"), dict):
            relative = dict(relative)
            made = RELATIVE[relative.pop("kind")](**relative, dtype=dtype)
            arguments["relative_positions"] = made
        return randomize(MAKERS[self.kind](arguments), seed=self.seed, stddev=0.4)

    def ids(self, *shape, vocabulary_size=V, more=0):
        """Ids without padding."""
        generator = np.random.default_rng(self.seed + more)
        return generator.integers(1, vocabulary_size, size=shape).astype("int32")

    def normal(self, *shape, more=0):
        """Standard normal values."""
        return np.random.default_rng(self.seed + more).normal(size=shape).astype("float32")

    def mask(self, *shape, more=0):
        """A mask that is True at two of three places."""
        return np.random.default_rng(self.seed + more).random(shape) < 2 / 3


# === Blocks ===


def flag():
    return st.booleans()


def rotary(head_dim):
    """The arguments of rotary positions, which rotate an even number of a head's dimensions."""
    fractions = [part for part in (0.25, 0.5, 0.75, 1.0) if part * head_dim % 2 == 0]
    linear = st.fixed_dictionaries({"kind": st.just("linear"), "factor": st.just(3.0)})
    llama3 = st.fixed_dictionaries(
        {
            "kind": st.just("llama3"),
            "factor": st.just(4.0),
            "low_frequency_factor": st.just(1.0),
            "high_frequency_factor": st.sampled_from((2.0, 3.0)),
            "original_max_length": st.sampled_from((11, 64)),
        }
    )
    return st.one_of(
        st.just(True),
        st.fixed_dictionaries(
            {"fraction": st.sampled_from(fractions)},
            optional={"max_wavelength": st.just(500.0), "scaling": st.one_of(linear, llama3)},
        ),
    )


def relative_positions():
    """The names of relative positions, and their layers with arguments other than the defaults."""
    t5 = {"num_buckets": st.sampled_from((4, 6, 8)), "max_distance": st.integers(5, 9)}
    return st.one_of(
        st.sampled_from(sorted(RELATIVE)),
        st.fixed_dictionaries({"kind": st.just("t5"), "bidirectional": st.none(), **t5}),
        st.fixed_dictionaries({"kind": st.just("shaw"), "max_distance": st.integers(1, 4)}),
        st.fixed_dictionaries({"kind": st.just("alibi"), "max_exponent": st.integers(1, 8)}),
    )


@st.composite
def blocks(draw):
    """The arguments of a block, and the hidden size as `hidden_dim`."""
    key_heads, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    num_heads, head_dim = key_heads * groups, draw(st.sampled_from((4, 6, 8, 3, 5)))
    required = {"num_heads": num_heads, "intermediate_dim": draw(st.sampled_from((11, 13)))}
    if groups > 1:
        required["num_key_value_heads"] = key_heads
    # An even hidden size, for sinusoidal positions, and not so small that norms leave only signs.
    if num_heads * head_dim % 2 or num_heads * head_dim < 6 or draw(flag()):
        required |= {"head_dim": head_dim, "hidden_dim": draw(st.sampled_from((8, 10, 14)))}
    else:
        required["hidden_dim"] = num_heads * head_dim
    rate = st.just(0.1)
    options = {
        "activation": st.sampled_from(("gelu", "gelu_approximate", "silu", "tanh")),
        "normalize_first": flag(),
        "layer_norm_epsilon": st.just(1e-3),
        "attention_dropout": rate,
        "activation_dropout": rate,
        "gated": flag(),
        "norm": st.just("rms"),
        "use_norm_bias": st.just(False),
        "query_key_norm": st.sampled_from(("layer", "rms")),
        "attention_scale": st.sampled_from((0.5, 1.0, 2.0)),
        "attention_implementation": st.sampled_from(("dense", "fused", "blockwise")),
        "use_attention_bias": st.just(False),
        "use_attention_output_bias": flag(),
        "use_feed_forward_bias": st.just(False),
        "relative_positions": relative_positions(),
        "window": st.integers(1, 5) | st.tuples(st.none() | st.integers(1, 5), st.integers(1, 5)),
    }
    if head_dim % 2 == 0:
        options["rotary"] = rotary(head_dim)
    return required | draw(st.fixed_dictionaries({}, optional=options))


def has_no_positions(options):
    return not {"rotary", "relative_positions", "window"} & set(options)


@st.composite
def stacks(draw, options):
    """The arguments of a stack other than those of its blocks."""
    chosen = {"rematerialize": draw(flag())}
    if "relative_positions" in options:
        chosen["share_relative_positions"] = draw(flag())
    return chosen


# === Models and stacks ===

SEEDS = st.integers(0, 999)
PADDING_IDS = st.sampled_from((0, 0, None))


@st.composite
def gpts(draw):
    arguments = draw(blocks()) | {"num_layers": draw(st.integers(1, 2))}
    arguments["max_length"] = draw(st.sampled_from((MAX_LENGTH, None)))
    arguments |= {"share_embeddings": draw(flag()), "padding_id": draw(PADDING_IDS)}
    arguments["rematerialize"] = draw(flag())
    return Configuration("gpt", arguments, draw(SEEDS))


@st.composite
def translators(draw):
    options = draw(blocks())
    arguments = options | draw(stacks(options)) | {"num_layers": draw(st.integers(1, 2))}
    layout = draw(st.sampled_from((*SINUSOIDS, "learned", None)))
    arguments["position_layout"] = layout
    if layout == "learned":
        arguments["max_length"] = MAX_LENGTH
    if layout in SINUSOIDS:
        arguments["first_position"] = draw(st.sampled_from((0, 2)))
    if has_no_positions(options) and draw(flag()):
        arguments["decoder_recurrence"] = "ssru"
    if {"head_dim", "num_key_value_heads"} <= set(options):
        arguments["num_decoder_heads"] = options["num_key_value_heads"] * draw(st.integers(1, 2))
    more = {
        "target_vocabulary_size": st.just(V),
        "num_decoder_layers": st.integers(1, 3),
        "decoder_intermediate_dim": st.just(5),
        "scale_embeddings": st.just(False),
        "output_bias": flag(),
        "start_is_padding": flag(),
        "share_embeddings": flag(),
        "tie_logits": flag(),
    }
    arguments |= draw(st.fixed_dictionaries({"padding_id": PADDING_IDS}, optional=more))
    if arguments.get("share_embeddings", True) and arguments.get("tie_logits", True):
        arguments["scale_logits"] = draw(flag())
    return Configuration("transformer", arguments, draw(SEEDS))


@st.composite
def berts(draw):
    arguments = draw(blocks()) | {"num_layers": draw(st.integers(1, 2))}
    arguments |= {"pooler": draw(flag()), "masked_lm": draw(flag())}
    arguments |= {"num_segments": draw(st.sampled_from((2, None))), "max_length": MAX_LENGTH}
    arguments |= {"padding_id": draw(PADDING_IDS), "rematerialize": draw(flag())}
    return Configuration("bert", arguments, draw(SEEDS))


@st.composite
def encoders(draw):
    options = draw(blocks())
    arguments = options | draw(stacks(options)) | {"num_layers": draw(st.integers(1, 3))}
    arguments["layout"] = draw(st.sampled_from((None, *SINUSOIDS, "learned")))
    return Configuration("encoder", arguments, draw(SEEDS))


@st.composite
def decoders(draw):
    options = draw(blocks())
    arguments = options | draw(stacks(options)) | {"num_layers": draw(st.integers(1, 3))}
    arguments["layout"] = draw(st.sampled_from((None, *SINUSOIDS, "learned")))
    arguments["cross_attention"] = draw(flag())
    if has_no_positions(options) and draw(flag()):
        arguments["recurrence"] = "ssru"
    return Configuration("decoder", arguments, draw(SEEDS))


def _make_transformer(arguments):
    is_double = "target_vocabulary_size" in arguments
    return kt.models.transformer(SOURCE_V if is_double else V, **arguments)


def _make_stack(make, arguments):
    """A built stack, whose positions are a layer."""
    layout, hidden_dim = arguments.pop("layout"), arguments.pop("hidden_dim")
    sizes = [arguments.pop(name) for name in ("num_layers", "num_heads", "intermediate_dim")]
    if layout == "learned":
        arguments["positional_encoding"] = kt.layers.LearnedPositionalEmbedding(MAX_LENGTH)
    elif layout is not None:
        arguments["positional_encoding"] = kt.layers.PositionalEncoding(layout)
    stack = make(*sizes, **arguments)
    source = [(None, None, SOURCE_DIM)] if arguments.get("cross_attention") else []
    stack.build((None, None, hidden_dim), *source)
    return stack


MAKERS = {
    "gpt": lambda arguments: kt.models.gpt(V, **arguments),
    "transformer": _make_transformer,
    "bert": lambda arguments: kt.models.bert(V, **arguments),
    "encoder": lambda arguments: _make_stack(make_encoder, arguments),
    "decoder": lambda arguments: _make_stack(make_decoder, arguments),
}
