"""Weight files with false headers or references to other files."""

import json
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_transformer as kt
from tests.robustness.subjects import (
    SUBJECTS,
    language_model,
    refused,
    rewrite,
)


def save_torch(folder, change):
    import torch

    path = folder / "pytorch_model.bin"
    tensors = torch.load(path, weights_only=True)
    torch.save(change(tensors), path)


def first(tensors):
    return min(tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, torch: {**t, first(t): t[first(t)].to_sparse()}, "must contain plain dense ten"),
        (
            lambda t, torch: {**t, first(t): torch.zeros(1).expand(10**6, 10**6)},
            "must contain plain dense tensors.*1000000, 1000000",
        ),
        (
            lambda t, torch: {**t, first(t): torch.zeros(3, device="meta")},
            "must contain plain dense tensors",
        ),
        (lambda t, torch: {**t, 7: torch.zeros(3)}, "must contain tensors by name, and nothing el"),
        (
            lambda t, torch: {**t, first(t): torch.zeros(3, dtype=torch.cfloat)},
            "must contain float",
        ),
        (lambda t, torch: [t], "must contain tensors by name, and nothing else"),
    ],
)
def test_tensors_that_are_not_plain(built, change, message, tmp_path):
    torch = pytest.importorskip("torch")
    folder = built("torch", tmp_path / "folder")
    save_torch(folder, lambda tensors: change(tensors, torch))
    refused("torch", folder, f"{message}|pytorch_model.bin")
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load(folder)


def test_parameters_that_require_gradients(built, tmp_path):
    torch = pytest.importorskip("torch")
    folder = built("torch", tmp_path / "folder")
    save_torch(folder, lambda ts: {n: torch.nn.Parameter(t) for n, t in ts.items()})
    SUBJECTS["torch"].load(folder)


def test_a_zip_bomb_for_torch(built, tmp_path):
    folder = built("torch", tmp_path / "folder")
    path = folder / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**8))
    refused("torch", folder, r"pytorch_model.bin.*bytes that unpack to 100000000 bytes")


@pytest.mark.parametrize("place", ["../model-1.safetensors", "/etc/passwd", "x/model.safetensors"])
def test_an_index_that_points_elsewhere(built, place, tmp_path):
    folder = built("shards", tmp_path / "folder")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][first(index["weight_map"])] = place
    path.write_text(json.dumps(index))
    refused("shards", folder, "model.safetensors.index.json` must name only .* in its own folder")


def test_a_tensor_in_two_shards(built, tmp_path):
    folder = built("shards", tmp_path / "folder")
    tensors = {**load_file(folder / "model-1.safetensors")}
    name = first(tensors)
    other = load_file(folder / "model-2.safetensors")
    save_file({**other, name: tensors[name]}, folder / "model-2.safetensors")
    refused("shards", folder, f"must contain each tensor once. Received: '{name}' twice")


@pytest.mark.parametrize("kind", ["link", "external"])
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_checkpoints_that_name_other_files(kind, suffix, tmp_path):
    """`average_checkpoints` must not read them, just as Keras does not."""
    model = language_model(53)
    model.save_weights(tmp_path / "other.weights.h5")
    path = tmp_path / f"stranger{suffix}"
    weights = tmp_path / "changed.h5"
    weights.write_bytes((tmp_path / "other.weights.h5").read_bytes())
    with h5py.File(weights, "r+") as file:
        place = "layers/functional/vars/0" if "functional" in file["layers"] else None
        names = []
        file.visititems(lambda n, e: names.append(n) if isinstance(e, h5py.Dataset) else None)
        place = place if place in names else names[0]
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        if kind == "link":
            file[place] = h5py.ExternalLink("other.weights.h5", place)
        else:
            secret = [(str(tmp_path / "other.weights.h5"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(place, shape, dtype, external=secret)
    if suffix == ".keras":
        model.save(path)
        rewrite(path, "model.weights.h5", lambda _: weights.read_bytes())
    else:
        path.write_bytes(weights.read_bytes())
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    with pytest.raises(ValueError, match=f"stranger{suffix}` must store all of its arrays itself"):
        kt.training.average_checkpoints(model, [path])
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)


@pytest.mark.parametrize("number", [2**31, 2**40, 2**63 - 1])
def test_counts_of_gguf(built, number, tmp_path):
    folder = built("gguf", tmp_path / "folder")
    path = folder / "model.gguf"
    content = path.read_bytes()
    for place in (8, 16):  # of tensors, and of settings
        path.write_bytes(content[:place] + struct.pack("<Q", number) + content[place + 8 :])
        refused("gguf", folder, "model.gguf")
    name = b"tokenizer.ggml.tokens"
    place = content.index(name) + len(name) + 8
    path.write_bytes(content[:place] + struct.pack("<Q", number) + content[place + 8 :])
    refused("gguf", folder, "model.gguf` must be an intact file in the GGUF format")


@pytest.mark.parametrize(
    ("place", "number"),
    [(8, 2**40), (8, 2**63), (16, 2**40), (24, 7), (32, 2**40), (32, 9), (40, 2**63)],
)
def test_headers_of_marian(built, place, number, tmp_path):
    """The number of tensors; then the length of the first one's name, its type, rank and size."""
    folder = built("firefox", tmp_path / "folder")
    path = folder / "model.xxyy.bin"
    content = path.read_bytes()
    path.write_bytes(content[:place] + struct.pack("<Q", number) + content[place + 8 :])
    refused("firefox", folder, "model.xxyy.bin` must be an intact binary Marian model")


@pytest.mark.parametrize("shape", [(-1, 12), (2**31 - 1, 2**31 - 1), (0, 0), (-(2**31), 1)])
def test_shapes_of_marian(built, shape, tmp_path):
    folder = built("firefox", tmp_path / "folder")
    path = folder / "model.xxyy.bin"
    content = path.read_bytes()
    (count,) = struct.unpack_from("<Q", content, 8)
    headers = [struct.unpack_from("<4Q", content, 16 + 32 * index) for index in range(count)]
    place = 16 + 32 * count + sum(length for length, *_ in headers)
    path.write_bytes(content[:place] + struct.pack("<2i", *shape) + content[place + 8 :])
    refused("firefox", folder, "model.xxyy.bin` must be an intact binary Marian model")
