"""Folders as they are found in the wild, and folders that are wrong."""

import json
import pickle
import struct

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

import keras_transformer as kt
from keras_transformer.pretrained.families.registry import FAMILIES
from tests.harness import to_numpy, token_ids
from tests.parity.weights import randomize_torch

V = 53
IDS = token_ids(2, 7, vocabulary_size=V, low=0)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def reference():
    config = transformers.OpenAIGPTConfig(
        vocab_size=V, n_positions=13, n_embd=12, n_layer=2, n_head=3
    )
    return randomize_torch(transformers.OpenAIGPTLMHeadModel(config).eval())


@pytest.fixture
def folder(reference, tmp_path):
    reference.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def expected(reference):
    with torch.no_grad():
        return reference(input_ids=torch.tensor(IDS).long()).logits.numpy()


def check(folder, expected, tolerance=1e-4):
    model = kt.pretrained.load(folder)
    np.testing.assert_allclose(to_numpy(model({"token_ids": IDS})), expected, atol=tolerance)


def change(folder, **changes):
    """Rewrites the weights; None removes a tensor."""
    tensors = {**load_file(folder / WEIGHTS), **changes}
    save_file({n: t for n, t in tensors.items() if t is not None}, folder / WEIGHTS)


# === As they are found ===


@pytest.mark.parametrize("has_safetensors", [True, False])
def test_a_name_on_the_hub(has_safetensors, reference, expected, monkeypatch, tmp_path):
    """Safetensors where there are any, else the pickle, of which weights alone are read."""
    reference.save_pretrained(tmp_path)
    if not has_safetensors:
        torch.save(reference.state_dict(), tmp_path / "pytorch_model.bin")
        (tmp_path / WEIGHTS).unlink()
    asked = []

    def download(name, allow_patterns):
        asked.append((name, "pytorch_model*.bin" in allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    check("someone/some-gpt", expected)
    assert asked == [("someone/some-gpt", False), ("someone/some-gpt", True)][: 2 - has_safetensors]


def test_a_hub_that_says_no(monkeypatch):
    def download(name, allow_patterns):
        raise OSError("no such repository")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(ValueError, match="not a folder, and the hub reports: no such repository"):
        kt.pretrained.load("someone/nothing")


def test_shards(reference, expected, tmp_path):
    reference.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    check(tmp_path, expected)


@pytest.mark.parametrize("old_form", [False, True])
def test_a_file_of_torch(folder, expected, old_form):
    tensors = {name: torch.tensor(t) for name, t in load_file(folder / WEIGHTS).items()}
    path = folder / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=not old_form)
    (folder / WEIGHTS).unlink()
    check(folder, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.05), ("bfloat16", 0.4)])
@pytest.mark.parametrize("file", ["safetensors", "torch"])
def test_half_precision(folder, expected, dtype, tolerance, file):
    dtype = getattr(torch, dtype)
    tensors = {n: torch.tensor(t).to(dtype) for n, t in load_file(folder / WEIGHTS).items()}
    if file == "safetensors":
        save_torch_file(tensors, folder / WEIGHTS)
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
        (folder / WEIGHTS).unlink()
    check(folder, expected, tolerance)
    model = kt.pretrained.load(folder)
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


def test_old_names_and_mask_buffers(folder, expected):
    tensors = load_file(folder / WEIGHTS)
    tensors = {name.removeprefix("transformer."): t for name, t in tensors.items()}
    tensors["h.0.attn.bias"] = np.tri(13, dtype="float32")[None, None]
    tensors["h.1.attn.masked_bias"] = np.float32([-1e4])
    tensors["lm_head.weight"] = tensors["tokens_embed.weight"]
    save_file(tensors, folder / WEIGHTS)
    check(folder, expected)


# === As they must not be ===


def refuse(folder, message):
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(folder)


def test_adapters_beside_the_weights(folder):
    """They would be lost without a word."""
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
    with pytest.raises(ValueError, match="merge its adapters first.*adapter_config.json"):
        kt.pretrained.load(folder)


def test_not_a_folder(tmp_path):
    refuse(tmp_path / "nothing", "`folder` must be a folder, or a name on the Hugging Face hub")


def test_no_config(folder):
    (folder / "config.json").unlink()
    refuse(folder, "`folder` must contain the file config.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "must be a JSON file"), ("[]", "must contain a JSON object. Received: list")],
)
def test_a_config_that_is_none(folder, content, message):
    (folder / "config.json").write_text(content)
    refuse(folder, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "xlnet"},
            "`model_type` in .* must be one of .*'bert', .*'gpt2', .*'vit'.* Received: 'xlnet'",
        ),
        ({"model_type": None}, "`model_type` in .* must be one of"),
        ({"model_type": ["gpt2"]}, "`model_type` in .* must be one of"),
        ({"n_layer": "two"}, "`n_layer` in .* must be of type int. Received: 'two'"),
        ({"n_layer": 0}, "`n_layer` in .* must be at least 1. Received: 0"),
        ({"n_layer": True}, "`n_layer` in .* must be of type int. Received: True"),
        ({"vocab_size": None}, "`vocab_size` in .* must be of type int. Received: None"),
        ({"resid_pdrop": 1.5}, r"`resid_pdrop` in .* must be in \[0, 1\). Received: 1.5"),
        ({"afn": "mish"}, r"`afn` in .* must be one of \['gelu', .*Received: 'mish'"),
        ({"tie_word_embeddings": False}, "`tie_word_embeddings` in .* must be True, the only"),
        ({"n_head": 5}, "`num_heads` must divide `hidden_dim`. Received: num_heads=5"),
        ({"n_embd": 24}, "must have the shape"),
    ],
)
def test_a_config_that_does_not_fit(folder, changes, message):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refuse(folder, message)


NAME = "transformer.h.1.mlp.c_fc.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({NAME: None}, f"Missing: {NAME}. Left over: none."),
        ({"extra": np.zeros(3, "float32")}, "Missing: none. Left over: extra."),
        (
            {NAME: np.zeros((48, 12), "float32")},
            rf"The tensor '{NAME}' must have the shape \(12, 48\). Received: shape \(48, 12\)",
        ),
        ({NAME: np.zeros((12, 48), "int8")}, f"'{NAME}' must contain floating-point numbers.*int8"),
        (
            {"transformer.h.0.attn.c_attn.weight": np.zeros((12, 35), "float32")},
            r"must have the shape \(12, 36\). Received: shape \(12, 35\)",
        ),
    ],
)
def test_tensors_that_do_not_fit(folder, changes, message):
    change(folder, **changes)
    refuse(folder, message)


def test_no_weights(folder):
    (folder / WEIGHTS).unlink()
    refuse(folder, "must contain model.safetensors or pytorch_model.bin, or their index")


@pytest.mark.parametrize("kept", [5, 100, 3000, -4])
def test_a_truncated_file(folder, kept):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    refuse(folder, "must be an intact file that holds only weights")


def test_a_header_that_claims_more_than_the_file_has(folder):
    path = folder / WEIGHTS
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 2**40) + content[8:])
    refuse(folder, "must be an intact file that holds only weights")
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header[NAME]["data_offsets"][1] += 10**9
    header = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    refuse(folder, "must be an intact file that holds only weights")


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "config.json", ""])
def test_an_index_that_points_elsewhere(folder, name):
    (folder / WEIGHTS).rename(folder.parent / "other.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {NAME: name}}))
    refuse(folder, "must name only .* files in its own folder")
    index.write_text(json.dumps({"weight_map": {NAME: "model-1.safetensors"}}))
    refuse(folder, "must contain the file model-1.safetensors")
    index.write_text(json.dumps({"weight_map": []}))
    refuse(folder, "must contain a `weight_map`")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_a_pickle_that_carries_code(folder, plain_pickle):
    (folder / WEIGHTS).unlink()
    trace, path = folder / "trace", folder / "pytorch_model.bin"
    content = {NAME: Malicious(trace)}
    if plain_pickle:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    refuse(folder, "must be an intact file that holds only weights")
    assert not trace.exists()


def test_a_file_of_torch_that_holds_other_things(folder):
    (folder / WEIGHTS).unlink()
    torch.save({"epoch": 3}, folder / "pytorch_model.bin")
    refuse(folder, "must contain tensors by name, and nothing else")


def test_every_family_is_listed_by_its_name():
    assert all(name == family.model_type for name, family in FAMILIES.items())
