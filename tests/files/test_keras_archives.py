import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.files import check_keras_archive, load_keras_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model = kt.models.gpt(11, 1, 2, hidden_dim=6, intermediate_dim=13, max_length=7)
    model.save(path)
    return path, model


@pytest.fixture
def path(saved, tmp_path):
    (tmp_path / "model.keras").write_bytes(saved[0].read_bytes())
    return tmp_path / "model.keras"


def rewrite(path, method=zipfile.ZIP_STORED, **changes):
    """Applies a change to entries, named without extension; drops those that become None."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    for name in list(entries):
        change = changes.get(name.split(".")[0], lambda content: content)
        entries[name] = change(entries[name])
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            if content is not None:
                archive.writestr(name, content)


def refused(path, message):
    with pytest.raises(ValueError, match=f"(?s)model.keras.*{message}|{message}.*model.keras"):
        load_keras_model(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_model(saved, path, method):
    rewrite(path, method)
    assert check_keras_archive(path) == sum(np.prod(w.shape) for w in saved[1].weights)
    ids = {"token_ids": np.arange(5)[None]}
    expected = keras.ops.convert_to_numpy(saved[1](ids))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(load_keras_model(path)(ids)), expected)


def with_sizes(**sizes):
    def change(content):
        config = json.loads(content)
        waiting, found = [config], set()
        while waiting:
            one = waiting.pop()
            if isinstance(one, dict):
                for name in sizes.keys() & one.keys():
                    one[name] = sizes[name]
                    found.add(name)
            waiting += [
                v
                for v in (one.values() if isinstance(one, dict) else one)
                if isinstance(v, (dict, list))
            ]
        assert found == sizes.keys()
        return json.dumps(config)

    return change


@pytest.mark.parametrize(
    "name", ["hidden_dim", "vocabulary_size", "intermediate_dim", "max_length"]
)
def test_sizes_beyond_the_weights(path, name):
    rewrite(path, config=with_sizes(**{name: 10**9}))
    refused(path, "must describe a model whose values are in its files. Received: a variable")


def test_a_depth_beyond_the_weights(path):
    rewrite(path, config=with_sizes(num_layers=10**9))
    refused(path, r"must be at most \d+, the number of arrays in its weights. Received: 1000000000")


def test_a_flipped_bit_in_the_weights(path):
    with zipfile.ZipFile(path) as archive:
        content = archive.read("model.weights.h5")
    whole = bytearray(path.read_bytes())
    whole[whole.index(content) + len(content) - 9] ^= 1
    path.write_bytes(whole)
    refused(path, "Received: 'model.weights.h5', whose CRC differs")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": lambda content: None}, "must contain config.json"),
        ({"model": lambda content: None}, "must contain model.weights.h5"),
        ({"config": lambda content: content[:-9]}, "must be a JSON file"),
        (
            {"config": lambda content: b"[" * 10**5},
            "must be a JSON file. Received: too many levels",
        ),
        ({"config": lambda content: b"[]"}, "must contain a JSON object. Received: list"),
        ({"config": lambda content: b"{}"}, "Read from|must be an intact"),
        (
            {"model": lambda content: content[:500]},
            "must be an intact zip archive. Received: OSErr",
        ),
        ({"model": lambda content: b""}, "must be an intact zip archive. Received: OSError"),
    ],
)
def test_damaged_entries(path, changes, message):
    rewrite(path, **changes)
    refused(path, message)


def test_links_in_the_weights(path, tmp_path):
    def with_link(content):
        (tmp_path / "x.h5").write_bytes(content)
        with h5py.File(tmp_path / "x.h5", "r+") as file:
            file["layers/other"] = h5py.ExternalLink("/etc/passwd", "/")
        return (tmp_path / "x.h5").read_bytes()

    rewrite(path, model=with_link)
    refused(path, r"Received: a link \(ExternalLink\) at 'layers/other'")
