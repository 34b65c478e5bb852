"""Law 7 for the models of Firefox Translations: a plain numpy program, and the real weights."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import to_numpy
from tests.parity.weights import check_agreement
from tests.pretrained.firefox import (
    SETTINGS,
    TWO_VOCABULARIES,
    Plain,
    quantized,
    random_tensors,
    to_bytes,
)

CONFIGURATIONS = {
    "tiny": {},
    "deep": {"enc-depth": 3, "dec-depth": 1, "transformer-heads": 2},
    "wide": {"dim-emb": 20, "transformer-heads": 5, "transformer-dim-ffn": 7},
    "swish": {"transformer-ffn-activation": "swish", "dec-depth": 3},
    "one_head": {"transformer-heads": 1, "dim-vocabs": [31, 31]},
}
TWO = {
    "equal_sizes": {},
    "more_targets": {"dim-vocabs": [23, 37], "transformer-heads": 2},
    "more_sources": {"dim-vocabs": [41, 29], "dec-depth": 1},
    "untied": {"dim-vocabs": [23, 31], "tied-embeddings": False},
    "untied_in_old_marian": {"tied-embeddings": False, "old-marian": True},
}
SOURCES = [[5, 9, 20, 4, 0], [7, 0], [21, 21, 3, 8, 11, 2, 0]]
TARGETS = [[4, 4, 17], [19, 2, 6], [1, 22, 5]]


@pytest.mark.parametrize("in_8_bits", [True, False])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_logits(name, in_8_bits, tmp_path):
    settings = {**SETTINGS, **CONFIGURATIONS[name]}
    tensors = random_tensors(settings, seed=len(name))
    (tmp_path / "model.xxyy.bin").write_bytes(to_bytes(settings, tensors, in_8_bits))
    model = kt.pretrained.load(tmp_path)
    plain = Plain(settings, quantized(tensors) if in_8_bits else tensors)
    padding = settings["dim-vocabs"][0]
    source_ids = np.full((3, 7), padding)
    for row, source in zip(source_ids, SOURCES, strict=True):
        row[: len(source)] = source
    target_ids = np.array([[padding, *row] for row in TARGETS])
    logits = to_numpy(model({"source_ids": source_ids, "target_ids": target_ids}))
    for found, source, target in zip(logits, SOURCES, TARGETS, strict=True):
        check_agreement("firefox", found[:, :padding], plain.logits(source, target))
        np.testing.assert_array_equal(found[:, padding], 0.0)


@pytest.mark.parametrize("in_8_bits", [True, False])
@pytest.mark.parametrize("name", TWO)
def test_logits_of_two_vocabularies(name, in_8_bits, tmp_path):
    settings = {**TWO_VOCABULARIES, **TWO[name]}
    tensors = random_tensors(settings, seed=len(name))
    (tmp_path / "model.xxyy.bin").write_bytes(to_bytes(settings, tensors, in_8_bits))
    if in_8_bits and name == "untied":
        with pytest.raises(ValueError, match="`decoder_ff_logit_out_Wt` in .* must be in float32"):
            kt.pretrained.load(tmp_path)
        return
    model = kt.pretrained.load(tmp_path)
    plain = Plain(settings, quantized(tensors) if in_8_bits else tensors)
    sizes = settings["dim-vocabs"]
    padding = max(sizes)
    source_ids = np.full((3, 7), padding)
    for row, source in zip(source_ids, SOURCES, strict=True):
        row[: len(source)] = source
    target_ids = np.array([[padding, *row] for row in TARGETS])
    logits = to_numpy(model({"source_ids": source_ids, "target_ids": target_ids}))
    assert logits.shape == (3, 4, padding + 1)
    for found, source, target in zip(logits, SOURCES, TARGETS, strict=True):
        check_agreement("firefox", found[:, : sizes[1]], plain.logits(source, target))
        np.testing.assert_array_equal(found[:, sizes[1] :], 0.0)


@pytest.mark.slow
def test_real_weights():
    """A sentence with the numbers that Marian's own arithmetic in float32 gives for it."""
    model = kt.pretrained.load(kt.datasets.firefox_models.load_folder("en-pt"))
    kernel = to_numpy(
        model.get_layer("encoder").blocks[0].self_attention.attention.query_dense.kernel
    )
    np.testing.assert_allclose(kernel[0, :3], [-0.00430527, 0.00861055, 0], atol=1e-8)
    # "The animal didn't cross the street because it was too tired."
    source = [38, 2609, 8130, 41, 87, 3211, 6, 5540, 532, 66, 80, 1749, 20602, 3, 0]
    parts = kt.decoding.DecodingModel(model)
    encoded = to_numpy(parts.encode(np.array([source]), np.ones((1, len(source)), bool)))
    expected = [-0.242386, -2.212876, 1.040537, -0.114569]
    np.testing.assert_allclose(encoded[0, 0, :4], expected, atol=1e-4)
    ids = kt.decoding.generate(
        model, [source], 40, start_id=32000, stop_ids=(0,), banned_ids=(32000,)
    )
    expected = [40, 2609, 46, 9369, 224, 7, 5582, 721, 1099, 153, 26398, 3, 0]
    assert ids[0].tolist() == expected
