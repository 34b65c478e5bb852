"""Small models with random weights, and what figures of them are made from."""

import numpy as np

import keras_transformer as kt
from tests.harness import randomize

SIZES = {"num_layers": 2, "num_heads": 3, "hidden_dim": 12, "intermediate_dim": 11}

# What a page, a font or a formula could take for something else than text.
AWKWARD = [
    "<script>alert(1)</script>",
    "</script>",
    "&amp;",
    "a\u2028b",
    "שלום",
    "\u0301e",
    "\u202egpj",
    "$x^2$",
    "猫",
    "",
    " ",
    '"><img src=x>',
]


class Words:
    """A tokenizer that writes awkward tokens."""

    def __init__(self, words=AWKWARD):
        self.words = words

    def id_to_token(self, token_id):
        return self.words[token_id % len(self.words)]


def translator(vocabulary_size=23, **more):
    return randomize(kt.models.transformer(vocabulary_size, **{**SIZES, **more}), stddev=0.4)


def language_model(**more):
    return randomize(kt.models.gpt(23, **{**SIZES, **more}), stddev=0.4)


def bert(**more):
    return randomize(kt.models.bert(23, **{**SIZES, **more}), stddev=0.4)


def vit(**more):
    model = kt.models.vit(20, 5, 7, **{**SIZES, **more})
    return randomize(model, stddev=0.3)


def sources_and_targets(seed=0):
    """Two rows, of which the second is padded: 7 and 5 source tokens, 5 and 3 target tokens."""
    generator = np.random.default_rng(seed)
    source = generator.integers(4, 23, (2, 7)).astype("int32")
    target = generator.integers(4, 23, (2, 5)).astype("int32")
    source[1, 5:], target[1, 3:] = 0, 0
    return {"source_ids": source, "target_ids": target}


def ids_of_text(*shape, seed=0):
    return {"token_ids": np.random.default_rng(seed).integers(4, 23, shape).astype("int32")}
