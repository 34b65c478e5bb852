"""Folders of Firefox Translations that are wrong, and their shortlists."""

import struct

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.pretrained.families.firefox_files import find_shortlist, read_shortlist
from tests.pretrained.firefox import SETTINGS, random_tensors, to_bytes

NAME = "model.xxyy.intgemm.alphas.bin"
TENSORS = random_tensors(SETTINGS)


def write(folder, settings=SETTINGS, tensors=TENSORS, **options):
    (folder / NAME).write_bytes(to_bytes(settings, tensors, **options))
    return folder


@pytest.mark.parametrize(
    "key, value",
    [
        ("transformer-decoder-autoreg", "self-attention"),
        ("dec-cell", "gru"),
        ("tied-embeddings-all", 1),
        ("tied-embeddings-src", True),
        ("transformer-preprocess", "n"),
        ("transformer-train-position-embeddings", True),
        ("type", "s2s"),
        ("enc-depth", "six"),
        ("transformer-ffn-activation", "prelu"),
        ("dim-vocabs", [23, 29]),
        ("transformer-heads", None),
        ("right-left", True),
        ("input-types", ["sequence", "class"]),
        ("transformer-tied-layers", [1, 1]),
        ("transformer-no-bias", True),
        ("transformer-no-affine", True),
        ("transformer-rnn-projection", True),
        ("transformer-pool", True),
        ("lemma-dependency", "lemma-dependent-bias"),
        ("ulr", True),
        ("transformer-decoder-dim-ffn", 19),
        ("transformer-decoder-ffn-depth", 1),
    ],
)
def test_a_setting_that_is_not_supported_is_named(key, value, tmp_path):
    settings = {**SETTINGS, key: value}
    if value is None:
        del settings[key]
    with pytest.raises(ValueError, match=f"`{key}` (in|and) .*{NAME}"):
        kt.pretrained.load(write(tmp_path, settings))


def test_settings_that_say_what_the_model_does(tmp_path):
    more = {"transformer-decoder-dim-ffn": 17, "transformer-decoder-ffn-depth": 0}
    more |= {"right-left": False, "transformer-tied-layers": [], "enc-cell": "gru", "skip": False}
    assert kt.pretrained.load(write(tmp_path, {**SETTINGS, **more}))


def test_multipliers_of_nothing(tmp_path):
    name = "decoder_l9_rnn_W_QuantMultA"
    tensors = {**TENSORS, "none_QuantMultA": np.ones((1, 1), "float32")}
    assert kt.pretrained.load(write(tmp_path, tensors=tensors))
    tensors[name] = np.ones((1, 1), "float32")
    with pytest.raises(ValueError, match=f"Left over: {name}"):
        kt.pretrained.load(write(tmp_path, tensors=tensors))


def test_tensors_missing_and_left_over(tmp_path):
    tensors = dict(TENSORS)
    tensors["decoder_l9_rnn_W"] = tensors.pop("decoder_l1_rnn_W")
    message = "Missing: decoder_l1_rnn_W. Left over: decoder_l9_rnn_W."
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(write(tmp_path, tensors=tensors))


def test_a_tensor_of_another_shape(tmp_path):
    tensors = {**TENSORS, "encoder_l1_ffn_b1": TENSORS["encoder_l1_ffn_b1"][:, :-1]}
    with pytest.raises(ValueError, match=r"encoder_l1_ffn_b1.*\(1, 17\).*\(1, 16\)"):
        kt.pretrained.load(write(tmp_path, tensors=tensors))


WHOLE = to_bytes(SETTINGS, TENSORS)


def patched(place, value):
    return WHOLE[:place] + struct.pack("<Q", value) + WHOLE[place + 8 :]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "must be an intact binary Marian model"),
        (b"PK\x03\x04 something else entirely", "version must be 1"),
        (patched(0, 2), "version must be 1. Received: version=2"),
        (patched(8, 10**15), "Received: 1000000000000000 tensors in"),
        (patched(16, 10**12), "its header ends at"),
        (patched(16 + 16, 10**12), "Received: a tensor with 1000000000000 axes"),
        (patched(16 + 24, 10**12), "'?Wemb'? ends at"),
        (patched(16 + 24, 4), r"'Wemb' with shape \(23, 12\) in 4 bytes"),
        (patched(16 + 8, 0x10001), "type of 'Wemb' must be one of .* Received: 0x10001"),
        (WHOLE[: len(WHOLE) // 2], "ends at"),
        (WHOLE + b"more", "its last tensor ends at"),
        (to_bytes({}, TENSORS), "must contain a YAML mapping"),
        (to_bytes({"a": ["!"]}, {}), "`dim-vocabs` in .* must be of type list"),
        (
            WHOLE.replace(b"type: 'transformer'", b"type: !!python/x 'a"),
            "must contain YAML of plain values",
        ),
    ],
)
def test_a_damaged_file(data, message, tmp_path):
    (tmp_path / NAME).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(tmp_path)


def test_two_models(tmp_path):
    write(tmp_path)
    (tmp_path / "model.yyxx.bin").write_bytes(WHOLE)
    with pytest.raises(ValueError, match="`folder` must contain one file model"):
        kt.pretrained.load(tmp_path)


def test_two_shortlists(tmp_path):
    for name in ("lex.xxyy.bin", "lex.yyxx.bin"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="`folder` must contain one file lex"):
        find_shortlist(tmp_path)


def shortlist_bytes(offsets, ids, magic=0xF11A48D5013417F5, num_first=2):
    head = struct.pack("<6Q", magic, 0, num_first, 50, len(offsets), len(ids))
    return head + struct.pack(f"<{len(offsets)}Q", *offsets) + struct.pack(f"<{len(ids)}I", *ids)


def test_shortlist(tmp_path):
    path = tmp_path / "lex.bin"
    path.write_bytes(shortlist_bytes([0, 0, 2], [9, 4]))
    found = read_shortlist(path)
    np.testing.assert_array_equal(found.offsets, [0, 0, 2])
    np.testing.assert_array_equal(found.ids, [9, 4])
    assert kt.decoding.LexicalShortlist(*found)([[1]]) == [[0, 1, 4, 9]]
    whole = path.read_bytes()
    for data, message in (
        (whole[:-1], "2 bytes|2 ids in"),
        (whole[:20], "20 bytes"),
        (shortlist_bytes([0], [], magic=5), "the magic number 0x5"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=f"intact binary Marian shortlist.*({message})"):
            read_shortlist(path)
