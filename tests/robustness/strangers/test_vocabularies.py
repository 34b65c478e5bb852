"""Vocabularies, JSON, adapters and shortlists that ask for too much memory."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from tests.pretrained import folders
from tests.robustness.subjects import (
    edit,
    refused,
    rewrite,
)


@pytest.mark.parametrize("token_id", [2**31, 2**32 - 1, 10**30])
@pytest.mark.parametrize("name", ["merges", "marian_spm", "m2m_spm"])
def test_an_id_beyond_the_vocabulary(built, name, token_id, tmp_path):
    folder = built(name, tmp_path / "folder")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    edit(folder / "vocab.json", **{[*vocabulary][9]: token_id})
    refused(name, folder, r"vocab.json` must map tokens to ids, integers in \[0, \d+\). Received:")


def test_ids_beyond_a_tokenizer_json(built, tmp_path):
    folder = built("tokenizer_json", tmp_path / "folder")
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    whole["model"]["vocab"]["the"] = 2**31
    path.write_text(json.dumps(whole))
    refused("tokenizer_json", folder, "tokenizer.json` must map tokens to ids.* 'the': 2147483648")
    whole["model"]["vocab"]["the"] = 7
    whole["added_tokens"][0]["id"] = 2**31
    path.write_text(json.dumps(whole))
    refused("tokenizer_json", folder, "`added_tokens` in .*tokenizer.json must have ids in")


def test_a_billion_sentinels(tmp_path):
    folders.t5(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"extra_ids": 10**9}))
    refused("unigram_spm", tmp_path, "`extra_ids` in .*tokenizer_config.json must be a number of")


@pytest.mark.parametrize("content", ["[" * 10**5, '{"a":' * 10**5, '{"a": NaN}', '{"a":1,"a":2}'])
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_json_that_python_would_accept_or_choke_on(built, file, content, tmp_path):
    folder = built("tokenizer_json", tmp_path / "folder")
    (folder / file).write_text(content)
    refused("tokenizer_json", folder, f"{file}` must be a JSON file")


# === Arrays ===


def test_adapters_that_would_unpack_to_much_more(built, tmp_path):
    """The shapes are compared before anything is unpacked."""
    path = built("lora", tmp_path / "folder") / "adapters.npz"
    with np.load(path) as file:
        arrays = dict(file)
    name = next(name for name in arrays if name.endswith("lora_kernel_a"))
    arrays[name] = np.zeros((4_000_000, 2), "float32")
    np.savez_compressed(path, **arrays)
    assert path.stat().st_size < 200_000
    refused("lora", path.parent, r"adapters.npz', where .* has shape \(4000000, 2\), but \(6, 2\)")
    arrays[name] = np.zeros((2_000_000, 10), "float32")
    np.savez_compressed(path, **arrays)
    refused("lora", path.parent, "adapters.npz.*bytes that unpack to 80")


def array_file(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def lying_header(_):
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**11,)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(16)


DAMAGE = {
    "claims 400 GB": lying_header,
    "is no header": lambda content: content[:10] + b"{'descr': (" + content[21:],
    "is cut": lambda content: content[:40],
    "has no axes": lambda content: array_file(np.int64(3)),
    "has texts": lambda content: array_file(np.array(["a", "b"])),
    "has objects": lambda content: array_file(np.array([{}], dtype=object)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("subject", ["lora", "shortlist"])
def test_arrays_that_lie(built, subject, damage, tmp_path):
    folder = built(subject, tmp_path / "folder")
    path = next(folder.iterdir())
    with zipfile.ZipFile(path) as archive:
        name = next(one for one in archive.namelist() if "lora_kernel_a" in one or "offsets" in one)
    rewrite(path, name, DAMAGE[damage])
    refused(subject, folder, path.name)


@pytest.mark.parametrize("field", ["num_first", "multiple"])
def test_numbers_of_a_shortlist(built, field, tmp_path):
    path = built("shortlist", tmp_path / "folder") / "shortlist.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, field: np.int64(2**40)})
    refused("shortlist", path.parent, f"shortlist.npz` must be a shortlist.*`{field}` must be")


def test_a_first_id_of_2_to_the_40(built, tmp_path):
    folder = built("firefox", tmp_path / "folder")
    path = folder / "lex.50.50.xxyy.s2t.bin"
    content = path.read_bytes()
    path.write_bytes(content[:16] + struct.pack("<Q", 2**40) + content[24:])
    refused("firefox", folder, r"lex.*.bin` must be an intact binary Marian shortlist.*10995116")
    path.write_bytes(content[:56] + struct.pack("<Q", 2**63) + content[64:])
    refused("firefox", folder, "`offsets` must contain integers.*Read from .*lex.*.bin")
