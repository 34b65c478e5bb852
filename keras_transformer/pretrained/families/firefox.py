"""Firefox Translations (Bergamot) models: Marian's distilled students, with SSRU decoders."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

from keras_transformer.models.translation import transformer
from keras_transformer.pretrained.config import Config
from keras_transformer.pretrained.config_keys import Keys
from keras_transformer.pretrained.families.family import Family
from keras_transformer.pretrained.mapping import ROW, Form, Rule

# The settings of the model below; other architectures of Marian are rejected, naming the key.
_REQUIRED = {
    "type": "transformer",
    "transformer-ffn-depth": 2,
    "transformer-preprocess": "",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": "",
    "transformer-decoder-autoreg": "rnn",
    "dec-cell": "ssru",
    "dec-cell-base-depth": 2,
    "layer-normalization": False,
    "transformer-train-position-embeddings": False,
    "transformer-no-projection": False,
    "output-omit-bias": False,
}
# Settings that only newer files have.
_UNLESS_SAID = {
    "input-types": [],
    "lemma-dependency": "",
    "right-left": False,
    "tied-embeddings-src": False,
    "transformer-no-affine": False,
    "transformer-no-bias": False,
    "transformer-pool": False,
    "transformer-rnn-projection": False,
    "transformer-tied-layers": [],
    "ulr": False,
}
_KEYS = Keys(
    {"transformer-ffn-activation": "swish", "tied-embeddings": False},
    {**_REQUIRED, **_UNLESS_SAID},
)


def _with_zeros(count: int) -> Form:
    """Returns the form of a table that gets rows of zeros.

    Marian starts decoding from a zero vector, and batches need padding.
    """
    return Form(
        lambda array: [np.pad(array, ((0, count), (0, 0)))],
        lambda arrays: arrays[0][:-count],
    )


def _columns_with_zeros(count: int) -> Form:
    """Returns the form of a kernel (in, out) that gets columns of zeros."""
    return Form(
        lambda array: [np.pad(array, ((0, 0), (0, count)))],
        lambda arrays: arrays[0][:, :-count],
    )


def _transposed_with_zeros(count: int) -> Form:
    """Returns the form of such a kernel that the file stores as (out, in)."""
    return Form(
        lambda array: [np.pad(array, ((0, count), (0, 0))).T],
        lambda arrays: arrays[0].T[:-count],
    )


def _bias_with_zeros(count: int) -> Form:
    return Form(
        lambda array: [np.pad(array[0], (0, count))],
        lambda arrays: arrays[0][None, :-count],
    )


class _Vocabularies(NamedTuple):
    """The vocabularies of a model.

    Attributes:
        source: Size of the source vocabulary.
        target: Size of the target vocabulary.
        shared: Whether source and target share their embedding.
        tied: Whether the logits are tied to the target embedding.
    """

    source: int
    target: int
    shared: bool
    tied: bool

    @property
    def padding_id(self) -> int:
        """The id of padding and start, on both sides: the first that is in neither vocabulary."""
        return max(self.source, self.target)


def _vocabularies(config: Config) -> _Vocabularies:
    sizes, shared = config.get("dim-vocabs", list), config.get("tied-embeddings-all", bool)
    is_pair = len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes)
    if not is_pair or (shared and sizes[0] != sizes[1]):
        must = "the same positive size twice" if shared else "two positive sizes"
        raise ValueError(f"`dim-vocabs` in {config.path} must contain {must}. Received: {sizes!r}.")
    source, target = sizes
    tied = shared or config.get("tied-embeddings", bool)
    return _Vocabularies(source, target, shared, tied)


def _build(config: Config) -> keras.Model:
    for key in _REQUIRED:
        config.get(key, type(_REQUIRED[key]))  # required
    for key, same in (("dim-ffn", "transformer-dim-ffn"), ("ffn-depth", "transformer-ffn-depth")):
        if config.values.get(f"transformer-decoder-{key}"):  # 0: same as the encoder
            config.require_equal(f"transformer-decoder-{key}", same)
    vocabularies = _vocabularies(config)
    size = vocabularies.padding_id + 1
    return transformer(
        size,
        None if vocabularies.shared else size,
        share_embeddings=vocabularies.tied,
        num_layers=config.depth("enc-depth"),
        num_decoder_layers=config.depth("dec-depth"),
        num_heads=config.size("transformer-heads"),
        hidden_dim=config.size("dim-emb"),
        intermediate_dim=config.size("transformer-dim-ffn"),
        # The file has no dropout rate. The models were trained without dropout: with the paper's
        # 0.1, the tiny English-Portuguese model predicts 16% of the tokens instead of 99%.
        dropout=0.0,
        activation=config.activation("transformer-ffn-activation"),
        position_layout="tensor2tensor",
        output_bias=True,
        padding_id=vocabularies.padding_id,
        start_is_padding=True,
        decoder_recurrence="ssru",
        name="firefox",
    )


def _attention(source: str, target: str) -> list[Rule]:
    letters = {"query": "q", "key": "k", "value": "v", "output": "o"}
    return [
        rule
        for part, letter in letters.items()
        for rule in _dense(source, letter, f"{target}/{part}")
    ]


def _dense(source: str, suffix: str, target: str) -> list[Rule]:
    return [
        Rule(f"{source}_W{suffix}", (f"{target}/kernel",)),
        Rule(f"{source}_b{suffix}", (f"{target}/bias",), ROW),
    ]


def _norm(source: str, target: str) -> list[Rule]:
    return [
        Rule(f"{source}_ln_scale", (f"{target}/gamma",), ROW),
        Rule(f"{source}_ln_bias", (f"{target}/beta",), ROW),
    ]


def _rules(config: Config) -> list[Rule]:
    rules = _embeddings(config)
    for index in range(config.depth("enc-depth")):
        source, target = f"encoder_l{index + 1}", f"encoder/block_{index}"
        rules += _attention(f"{source}_self", f"{target}/self_attention/attention")
        rules += _norm(f"{source}_self_Wo", f"{target}/self_attention_norm")
        rules += _feed_forward(source, target)
    for index in range(config.depth("dec-depth")):
        source, target = f"decoder_l{index + 1}", f"decoder/block_{index}"
        rules += [Rule(f"{source}_rnn_W", (f"{target}/ssru/candidate/kernel",))]
        rules += _dense(f"{source}_rnn", "f", f"{target}/ssru/forget")
        rules += _norm(f"{source}_rnn_ffn", f"{target}/ssru_norm")
        rules += _attention(f"{source}_context", f"{target}/cross_attention")
        rules += _norm(f"{source}_context_Wo", f"{target}/cross_attention_norm")
        rules += _feed_forward(source, target)
    return rules


def _embeddings(config: Config) -> list[Rule]:
    vocabularies = _vocabularies(config)
    size = vocabularies.padding_id + 1
    more, more_targets = size - vocabularies.source, size - vocabularies.target
    rules, name = [], "token_embedding"
    if vocabularies.shared:
        rules += [Rule("Wemb", (f"{name}/embeddings",), _with_zeros(more))]
    else:
        name = "target_embedding"
        tables = (("encoder_Wemb", "source_embedding", more), ("decoder_Wemb", name, more_targets))
        rules += [Rule(one, (f"{to}/embeddings",), _with_zeros(n)) for one, to, n in tables]
    if not vocabularies.tied:
        name, kernel = "logits", "decoder_ff_logit_out_Wt"
        form = _transposed_with_zeros(more_targets)
        if config.has_tensor("decoder_ff_logit_out_W"):  # of an older Marian
            kernel, form = "decoder_ff_logit_out_W", _columns_with_zeros(more_targets)
        rules += [Rule(kernel, ("logits/kernel",), form)]
    bias = _bias_with_zeros(more_targets)
    return [*rules, Rule("decoder_ff_logit_out_b", (f"{name}/bias",), bias)]


def _feed_forward(source: str, target: str) -> list[Rule]:
    return [
        *_dense(f"{source}_ffn", "1", f"{target}/feed_forward/intermediate"),
        *_dense(f"{source}_ffn", "2", f"{target}/feed_forward/output"),
        *_norm(f"{source}_ffn_ffn", f"{target}/feed_forward_norm"),
    ]


def _left_out(config: Config) -> tuple[str, ...]:
    # Multipliers for quantized activations, which float32 does not need; "none" is an old name for
    # the output layer.
    names = [rule.source for rule in _rules(config)]
    return tuple(f"{name}_QuantMultA" for name in (*names, "none"))


FIREFOX = Family("firefox", _build, _rules, _KEYS, left_out=_left_out)
