"""Named pipes, devices, folders and links in place of files."""

import os

import pytest

import keras_transformer as kt
from tests.robustness.subjects import (
    SUBJECTS,
    files_of,
    refused,
)


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def make_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def make_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def make_link_out(path):
    """Makes a link to another file with the same content, outside the folder."""
    outside = path.parents[3] / f"outside-{path.name}"
    path.rename(outside)
    path.symlink_to(outside)


def make_folder(path):
    path.unlink()
    path.mkdir()


CHANGES = [make_pipe, make_device, make_loop, make_link_out, make_folder]
# Users pass the paths of these files, which may therefore be links.
OWN = {"lora", "shortlist", "gguf"}
QUICK = ["merges", "tokenizer_json", "vocab_txt", "unigram_spm", "fairseq_spm", "marian_spm"]
QUICK += ["m2m_spm", "shortlist"]
MODELS = sorted(SUBJECTS.keys() - {*QUICK})


def check_special_files(built, name, change, tmp_path):
    folder = tmp_path / "a" / "b" / "folder"
    for place in files_of(built(name, folder)):
        if name in OWN and change is make_link_out:
            continue
        built(name, folder)
        change(folder / place)
        refused(name, folder, (folder / place).name)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", QUICK)
def test_special_files(built, name, change, tmp_path):
    check_special_files(built, name, change, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_special_files_of_models(built, name, change, tmp_path):
    check_special_files(built, name, change, tmp_path)


@pytest.mark.parametrize("name", [*QUICK[:-1], "safetensors", "sentence_encoder"])
def test_the_layout_of_the_hub(built, name, tmp_path):
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "3f2a"
    snapshot.parent.mkdir(parents=True)
    (snapshot.parent.parent / "blobs").mkdir()
    for index, place in enumerate(files_of(built(name, snapshot))):
        blob = snapshot.parent.parent / "blobs" / f"b{index}"
        (snapshot / place).rename(blob)
        up = "../" * (2 + place.count("/"))
        (snapshot / place).symlink_to(f"{up}blobs/b{index}")
    SUBJECTS[name].load(snapshot)


def test_a_link_given_by_the_user(built, tmp_path):
    for name in ("lora", "shortlist", "merges"):
        (tmp_path / name).mkdir()
        built(name, tmp_path / "real")
        (tmp_path / name).rmdir()
        (tmp_path / name).symlink_to("real")
        SUBJECTS[name].load(tmp_path / name)


def test_a_tokenizer_folder_that_is_a_link(built, tmp_path):
    folder = built("text_generator", tmp_path / "folder")
    (folder / "tokenizer").rename(tmp_path / "elsewhere")
    (folder / "tokenizer").symlink_to("../elsewhere")
    refused("text_generator", folder, "tokenizer` must be inside its folder")


def test_a_gguf_file_found_in_a_folder(built, tmp_path):
    folder = tmp_path / "a" / "b" / "folder"
    make_link_out(built("gguf", folder) / "model.gguf")
    with pytest.raises(ValueError, match="model.gguf` must be inside its folder"):
        kt.TextGenerator.from_pretrained(folder)
