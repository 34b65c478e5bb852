"""Settings that ask for more than the weights hold."""

import json
import struct

import pytest
from safetensors.numpy import save_file

from tests.pretrained import firefox
from tests.robustness.subjects import (
    SUBJECTS,
    edit,
    files_of,
    refused,
)


def settings_of(path):
    content = json.loads(path.read_text())
    return [key for key, value in content.items() if type(value) is int and value > 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["safetensors", "torch", "marian", "sentence_encoder"])
def test_every_number_of_a_config(built, name, tmp_path):
    folder = built(name, tmp_path / "folder")
    whole = (folder / "config.json").read_text()
    loaded = []
    for key in settings_of(folder / "config.json"):
        edit(folder / "config.json", **{key: 10**9})
        try:
            SUBJECTS[name].load(folder)
            loaded.append(key)
        except ValueError as error:
            assert any(file in str(error) for file in files_of(folder)), str(error)
        (folder / "config.json").write_text(whole)
    # Ids and lengths without a table of positions.
    assert not [key for key in loaded if key.endswith(("size", "dim", "layers", "embd", "model"))]


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("safetensors", "n_embd", "config.json` must describe a model whose values are"),
        ("safetensors", "vocab_size", "config.json` must describe a model whose values are"),
        (
            "safetensors",
            "n_positions",
            "config.json` must describe a model whose values are in its",
        ),
        (
            "safetensors",
            "n_layer",
            "`n_layer` in .*config.json must be at most",
        ),
        ("marian", "d_model", "config.json` must describe a model whose values are in its files"),
        ("marian", "encoder_layers", "`encoder_layers` in .*must be at most .*number of tensors"),
        ("marian", "decoder_ffn_dim", "config.json` must describe a model whose values are"),
        ("sentence_encoder", "hidden_size", "config.json` must describe a model whose values are"),
    ],
)
def test_sizes_beyond_the_weights(built, name, key, message, tmp_path):
    folder = built(name, tmp_path / "folder")
    edit(folder / "config.json", **{key: 10**9})
    refused(name, folder, message)


def test_a_dense_layer_of_a_sentence_encoder(built, tmp_path):
    folder = built("sentence_encoder", tmp_path / "folder")
    edit(folder / "2_Dense" / "config.json", out_features=10**9)
    refused("sentence_encoder", folder, "config.json` must describe a model whose values are")


def test_no_tensors_and_a_billion_layers(built, tmp_path):
    folder = built("safetensors", tmp_path / "folder")
    save_file({}, folder / "model.safetensors")
    edit(folder / "config.json", n_layer=10**9)
    refused("safetensors", folder, "`n_layer` in .*config.json must be at most 0")


@pytest.mark.parametrize("key", ["dim-emb", "transformer-dim-ffn", "enc-depth", "dim-vocabs"])
def test_settings_of_firefox(built, key, tmp_path):
    folder = built("firefox", tmp_path / "folder")
    tensors = firefox.random_tensors(firefox.SETTINGS)
    value = [10**9, 10**9] if key == "dim-vocabs" else 10**9
    content = firefox.to_bytes({**firefox.SETTINGS, key: value}, tensors)
    (folder / "model.xxyy.bin").write_bytes(content)
    message = "must be at most" if "depth" in key else "must describe a model whose values are"
    refused("firefox", folder, f"model.xxyy.bin.*{message}")


def test_sizes_of_gguf(built, tmp_path):
    folder = built("gguf", tmp_path / "folder")
    path = folder / "model.gguf"
    whole = path.read_bytes()
    for name, message in (
        (b"llama.embedding_length", "must describe a model whose values are in its files"),
        (b"llama.feed_forward_length", "must describe a model whose values are in its files"),
        (b"llama.block_count", "must be at most .*, the number of tensors"),
    ):
        place = whole.index(name) + len(name) + 4
        path.write_bytes(whole[:place] + struct.pack("<I", 10**9) + whole[place + 4 :])
        refused("gguf", folder, f"model.gguf.*{message}")
