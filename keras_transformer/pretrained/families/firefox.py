"""Firefox Translations (Bergamot) models: Marian's distilled students, with SSRU decoders."""

from __future__ import annotations

import struct
from pathlib import Path
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
    "tied-embeddings-all": True,
    "transformer-train-position-embeddings": False,
    "transformer-no-projection": False,
    "output-omit-bias": False,
}
# Settings that only newer files have.
_UNLESS_SAID = {
    "input-types": [],
    "lemma-dependency": "",
    "right-left": False,
    "transformer-no-affine": False,
    "transformer-no-bias": False,
    "transformer-pool": False,
    "transformer-rnn-projection": False,
    "transformer-tied-layers": [],
    "ulr": False,
}
_KEYS = Keys({"transformer-ffn-activation": "swish"}, {**_REQUIRED, **_UNLESS_SAID})
# The embedding gets an extra row of zeros: Marian starts decoding from a zero vector, and batches
# need padding.
_EMBEDDINGS = Form(
    lambda array: [np.concatenate([array, np.zeros_like(array[:1])])],
    lambda arrays: arrays[0][:-1],
)
_BIAS = Form(
    lambda array: [np.concatenate([array[0], np.zeros_like(array[0, :1])])],
    lambda arrays: arrays[0][None, :-1],
)


def firefox_model(folder: Path) -> Path | None:
    """Returns the weights file of a Firefox Translations folder, or None for any other folder.

    Raises:
        ValueError: If there is more than one.
    """
    if (folder / "config.json").is_file():
        return None
    found = sorted(folder.glob("model.*.bin"))
    if len(found) > 1:
        names = [path.name for path in found]
        raise ValueError(f"`folder` must contain one file model.*.bin. Received: {names}.")
    return found[0] if found else None


def firefox_vocabulary(folder: Path) -> bytes:
    """Returns the SentencePiece model that both languages of a folder share.

    Raises:
        ValueError: If there is none, or more than one.
    """
    found = sorted(folder.glob("*vocab.*.spm"))
    if len(found) != 1:
        names = [path.name for path in found]
        raise ValueError(
            f"`folder` must contain one file vocab.*.spm. Received: {names} in {folder}."
        )
    return found[0].read_bytes()


def find_shortlist(folder: Path) -> Path | None:
    """Returns the lexical shortlist file of a folder, or None if there is none.

    Raises:
        ValueError: If there is more than one.
    """
    found = sorted(folder.glob("lex.*.bin"))
    if len(found) > 1:
        names = [path.name for path in found]
        raise ValueError(f"`folder` must contain one file lex.*.bin. Received: {names}.")
    return found[0] if found else None


def vocabulary_size(config: Config) -> int:
    """Returns the vocabulary size, which is also the id of padding and start."""
    sizes = config.get("dim-vocabs", list)
    if len(sizes) != 2 or sizes[0] != sizes[1] or not isinstance(sizes[0], int) or sizes[0] < 1:
        raise ValueError(
            f"`dim-vocabs` in {config.path} must contain the same positive size twice. "
            f"Received: {sizes!r}."
        )
    return sizes[0]


def _build(config: Config) -> keras.Model:
    for key in _REQUIRED:
        config.get(key, type(_REQUIRED[key]))  # required
    for key, same in (("dim-ffn", "transformer-dim-ffn"), ("ffn-depth", "transformer-ffn-depth")):
        if config.values.get(f"transformer-decoder-{key}"):  # 0: same as the encoder
            config.require_equal(f"transformer-decoder-{key}", same)
    padding_id = vocabulary_size(config)
    return transformer(
        padding_id + 1,
        num_layers=config.size("enc-depth"),
        num_decoder_layers=config.size("dec-depth"),
        num_heads=config.size("transformer-heads"),
        hidden_dim=config.size("dim-emb"),
        intermediate_dim=config.size("transformer-dim-ffn"),
        # The file has no dropout rate. The models were trained without dropout: with the paper's
        # 0.1, the tiny English-Portuguese model predicts 16% of the tokens instead of 99%.
        dropout=0.0,
        activation=config.activation("transformer-ffn-activation"),
        position_layout="tensor2tensor",
        output_bias=True,
        padding_id=padding_id,
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
    rules = [
        Rule("Wemb", ("token_embedding/embeddings",), _EMBEDDINGS),
        Rule("decoder_ff_logit_out_b", ("token_embedding/bias",), _BIAS),
    ]
    for index in range(config.size("enc-depth")):
        source, target = f"encoder_l{index + 1}", f"encoder/block_{index}"
        rules += _attention(f"{source}_self", f"{target}/self_attention/attention")
        rules += _norm(f"{source}_self_Wo", f"{target}/self_attention_norm")
        rules += _feed_forward(source, target)
    for index in range(config.size("dec-depth")):
        source, target = f"decoder_l{index + 1}", f"decoder/block_{index}"
        rules += [Rule(f"{source}_rnn_W", (f"{target}/ssru/candidate/kernel",))]
        rules += _dense(f"{source}_rnn", "f", f"{target}/ssru/forget")
        rules += _norm(f"{source}_rnn_ffn", f"{target}/ssru_norm")
        rules += _attention(f"{source}_context", f"{target}/cross_attention")
        rules += _norm(f"{source}_context_Wo", f"{target}/cross_attention_norm")
        rules += _feed_forward(source, target)
    return rules


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


class ShortlistFile(NamedTuple):
    """The content of a lexical shortlist file: the arguments of `kt.decoding.LexicalShortlist`."""

    offsets: np.ndarray
    ids: np.ndarray
    num_first: int


_SHORTLIST_MAGIC = 0xF11A48D5013417F5


def read_shortlist(path: Path) -> ShortlistFile:
    """Reads the binary lexical shortlist of a Firefox Translations model.

    Args:
        path: Path of the file, `lex.*.bin`.

    Returns:
        A `ShortlistFile`.

    Raises:
        ValueError: If the file is damaged or of another format.
    """
    data = path.read_bytes()
    if len(data) < 48:
        raise _not_a_shortlist(path, f"{len(data)} bytes")
    magic, _, num_first, _, num_offsets, num_ids = struct.unpack_from("<6Q", data)
    if magic != _SHORTLIST_MAGIC:
        raise _not_a_shortlist(path, f"the magic number {magic:#x}")
    if len(data) != 48 + 8 * num_offsets + 4 * num_ids:
        sizes = f"{num_offsets} offsets and {num_ids} ids in {len(data)} bytes"
        raise _not_a_shortlist(path, sizes)
    offsets = np.frombuffer(data, "<u8", num_offsets, 48)
    ids = np.frombuffer(data, "<u4", num_ids, 48 + 8 * num_offsets)
    return ShortlistFile(offsets, ids, num_first)


def _not_a_shortlist(path, received):
    return ValueError(f"`{path}` must be an intact binary Marian shortlist. Received: {received}.")
