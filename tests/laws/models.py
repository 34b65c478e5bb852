"""The models that every law is checked on, small, with random weights everywhere."""

from typing import NamedTuple

import keras
import numpy as np

import keras_transformer as kt
from tests.harness import make_decoder, make_encoder, randomize
from tests.laws.own_block import own_block_translator

V, SOURCE_V = 23, 29


class Case(NamedTuple):
    """A model and how to feed it."""

    model: keras.Model
    is_translator: bool

    def __call__(self, target_ids, source_ids=None):
        """Logits (B, T, V) of one full pass."""
        target_ids = np.asarray(target_ids, "int32")
        if not self.is_translator:
            return self.model({"token_ids": target_ids}, training=False)
        inputs = {"source_ids": np.asarray(source_ids, "int32"), "target_ids": target_ids}
        return self.model(inputs, training=False)


SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 11}
TRANSFORMERS = {
    "transformer": {},
    "transformer_pre_norm_two_vocabularies": {
        "normalize_first": True,
        "num_decoder_heads": 4,
        "decoder_intermediate_dim": 13,
        "target_vocabulary_size": V,
        "activation": "gelu_approximate",
        "use_attention_bias": False,
        "attention_dropout": 0.1,
        "position_layout": "tensor2tensor",
    },
    "transformer_untied_grouped": {
        "share_embeddings": False,
        "target_vocabulary_size": V,
        "num_key_value_heads": 1,
        "output_bias": True,
        "num_decoder_layers": 1,
        "position_layout": "learned",
        "max_length": 37,
        "norm": "rms",
        "head_dim": 3,
    },
    "transformer_relative_keys_gated": {
        "relative_positions": "shaw",
        "position_layout": None,
        "gated": True,
        "query_key_norm": "layer",
        "attention_scale": 3.0,
        "use_feed_forward_bias": False,
    },
    "transformer_relative_bias_in_a_window": {
        "relative_positions": "t5",
        "window": 3,
        "normalize_first": True,
        "position_layout": "concatenated",
        "first_position": 2,
        "use_norm_bias": False,
        "attention_implementation": "blockwise",
    },
    "transformer_t5": {
        "relative_positions": kt.layers.RelativePositionBias(8, 5, bidirectional=None),
        "share_relative_positions": True,
        "position_layout": None,
        "normalize_first": True,
        "norm": "rms",
        "head_dim": 3,
        "attention_scale": 1.0,
        "use_attention_bias": False,
        "use_feed_forward_bias": False,
        "scale_embeddings": False,
        "scale_logits": True,
        "start_is_padding": True,
    },
    "transformer_t5_untied": {
        "relative_positions": "t5",
        "share_relative_positions": True,
        "position_layout": None,
        "window": (None, 2),
        "gated": True,
        "tie_logits": False,
    },
    "ssru": {"decoder_recurrence": "ssru", "position_layout": "tensor2tensor"},
}
RECURRENT = {
    "recurrent_fixed_context": {"cell": "simple", "attention": None, "bidirectional": False},
    "recurrent_luong_two_vocabularies": {
        "cell": "lstm",
        "attention": "luong",
        "num_layers": 2,
        "target_vocabulary_size": V,
        "output_bias": True,
    },
    "recurrent_bahdanau_untied": {
        "cell": "gru",
        "attention": "bahdanau",
        "num_layers": 2,
        "share_embeddings": False,
    },
}
TRANSLATORS = {**TRANSFORMERS, **RECURRENT, "own_block": {}}
LANGUAGE_MODELS = {
    "gpt": {},
    "gpt_pre_norm_grouped": {
        "normalize_first": True,
        "num_key_value_heads": 1,
        "max_length": None,
        "rotary": {
            "max_wavelength": 500.0,
            "fraction": 0.5,
            "scaling": {
                "kind": "llama3",
                "factor": 4.0,
                "low_frequency_factor": 1.0,
                "high_frequency_factor": 3.0,
                "original_max_length": 11,
            },
        },
        "norm": "rms",
        "query_key_norm": "rms",
        "head_dim": 8,
        "use_attention_bias": False,
        "use_attention_output_bias": True,
        "share_embeddings": False,
    },
    "gpt_linear_bias_banded": {
        "relative_positions": "alibi",
        "max_length": None,
        "num_key_value_heads": 1,
        "window": (None, 3),
    },
}
NAMES = (*TRANSLATORS, *LANGUAGE_MODELS)


def make_case(name, **more):
    """Builds one of the models above."""
    if name in TRANSLATORS:
        size = SOURCE_V if "target_vocabulary_size" in TRANSLATORS[name] else V
        if name == "own_block":
            model = own_block_translator(size, **{**SMALL, **more})
        elif name in RECURRENT:
            arguments = {"hidden_dim": SMALL["hidden_dim"], **RECURRENT[name], **more}
            model = kt.models.recurrent_seq2seq(size, **arguments)
        else:
            model = kt.models.transformer(size, **{**SMALL, **TRANSFORMERS[name], **more})
    else:
        arguments = {"max_length": 37, **SMALL, **LANGUAGE_MODELS[name], **more}
        model = kt.models.gpt(V, **arguments)
    return Case(randomize(model, stddev=0.4), name in TRANSLATORS)


_cases = {}


def get_case(name):
    """As `make_case`; one model serves all tests of a run, which must not change it."""
    if name not in _cases:
        _cases[name] = make_case(name)
    return _cases[name]


def rotary_decoder(**more):
    """A pre-LN stack as today's language models are built."""
    arguments = {"cross_attention": False, "rotary": True, "normalize_first": True, **more}
    decoder = make_decoder(2, 2, 11, num_key_value_heads=1, **arguments)
    decoder.build((None, None, 8), (None, None, 8) if decoder.block.cross_attention else None)
    return randomize(decoder, stddev=0.4)


def rotary_encoder(**more):
    """An encoder stack with rotary positions."""
    encoder = make_encoder(2, 2, 11, rotary=True, **more)
    encoder.build((None, None, 8))
    return randomize(encoder, stddev=0.4)
