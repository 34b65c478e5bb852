"""Tiny folders of every kind that the library loads, written on the spot, with their loaders."""

import functools
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_transformer as kt
from tests.pretrained import firefox, folders

TEXTS = folders.CORPUS
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 6, "intermediate_dim": 24}


class Subject(NamedTuple):
    """A kind of folder.

    Attributes:
        build: Writes a folder.
        load: Loads it.
    """

    build: Callable[[Path], Any]
    load: Callable[[Path], Any]


@functools.cache
def tokenizer(size=90):
    ids = {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3}
    return kt.data.SentencePieceTokenizer(folders.sentence_piece(TEXTS, size, **ids))


def language_model(size):
    return kt.models.gpt(size, **SIZE, max_length=13, normalize_first=True)


def translator(size):
    return kt.models.transformer(size, **SIZE)


# === Checkpoints ===


def write_gpt2(folder):
    own = tokenizer()
    kt.pretrained.save_huggingface(language_model(own.vocabulary_size()), own, folder)


def write_sharded(folder):
    write_gpt2(folder)
    path = folder / "model.safetensors"
    tensors, names = load_file(path), ["model-1.safetensors", "model-2.safetensors"]
    places = {name: names[index % 2] for index, name in enumerate(sorted(tensors))}
    for file in names:
        save_file({n: t for n, t in tensors.items() if places[n] == file}, folder / file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    path.unlink()


def write_torch(folder):
    import torch

    write_gpt2(folder)
    path = folder / "model.safetensors"
    tensors = {name: torch.tensor(array) for name, array in load_file(path).items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    path.unlink()


def write_marian(folder):
    own = tokenizer()
    model = translator(own.vocabulary_size())
    kt.pretrained.save_huggingface(model, own, folder)


def write_firefox(folder, vocabulary_size=23):
    folder.mkdir(parents=True, exist_ok=True)
    special = {"eos_id": 0, "unk_id": 1, "bos_id": -1, "pad_id": -1}
    proto = folders.sentence_piece(["a cat sat on the mat"] * 3, vocabulary_size, **special)
    size = len(folders.pieces_of(proto))
    settings = {**firefox.SETTINGS, "dim-vocabs": [size, size], "enc-depth": 1, "dec-depth": 1}
    content = firefox.to_bytes(settings, firefox.random_tensors(settings))
    (folder / "model.xxyy.bin").write_bytes(content)
    (folder / "vocab.xxyy.spm").write_bytes(proto)
    offsets = np.minimum(np.arange(size + 1), 7) * 2
    ids = np.random.default_rng(0).integers(0, size, offsets[-1])
    head = np.array([0xF11A48D5013417F5, 0, 2, 50, len(offsets), len(ids)], "<u8")
    data = head.tobytes() + offsets.astype("<u8").tobytes() + ids.astype("<u4").tobytes()
    (folder / "lex.50.50.xxyy.s2t.bin").write_bytes(data)


def write_gguf(folder):
    """A Llama of one layer, with a tokenizer of bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = ["<s>", *"abcdefgh", "ab", "cd", "abcd"]
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    numbers = {"block_count": 1, "context_length": 13, "embedding_length": 8}
    numbers |= {"feed_forward_length": 12, "attention.head_count": 2}
    for name, value in numbers.items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    for name, value in {"model": "gpt2", "pre": "gpt-2"}.items():
        writer.add_string(f"tokenizer.ggml.{name}", value)
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.merges", ["a b", "c d", "ab cd"])
    writer.add_uint32("tokenizer.ggml.bos_token_id", 0)
    shapes = {"token_embd": (len(tokens), 8), "output_norm": (8,), "blk.0.attn_norm": (8,)}
    shapes |= {f"blk.0.attn_{part}": (8, 8) for part in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_norm": (8,), "blk.0.ffn_gate": (12, 8), "blk.0.ffn_up": (12, 8)}
    shapes |= {"blk.0.ffn_down": (8, 12)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_sentence_encoder(folder):
    own = tokenizer()
    body = kt.models.bert(own.vocabulary_size(), **SIZE, max_length=13, pooler=False)
    projection = keras.layers.Dense(5, activation="tanh")
    dense = kt.models.sentence_encoder(body, projection=projection)
    kt.pretrained.save_huggingface(dense, own, folder)


# === Folders of our own ===


def write_text_generator(folder):
    own = tokenizer()
    kt.TextGenerator(language_model(own.vocabulary_size()), own).save(folder)


def write_translator(folder):
    own = tokenizer()
    size = own.vocabulary_size()
    shortlist = kt.decoding.LexicalShortlist(range(size + 1), range(size), num_first=5)
    kt.Translator(translator(size), own, shortlist=shortlist).save(folder)


def write_lora(folder):
    folder.mkdir(parents=True, exist_ok=True)
    model = language_model(53)
    kt.training.enable_lora(model, rank=2)
    kt.training.save_lora(model, folder / "adapters.npz")


def write_shortlist(folder):
    folder.mkdir(parents=True, exist_ok=True)
    kt.decoding.LexicalShortlist(range(54), range(53), 5).save(folder / "shortlist.npz")


def load_lora(folder):
    kt.training.load_lora(language_model(53), folder / "adapters.npz")


def load_shortlist(folder):
    shortlist = kt.decoding.LexicalShortlist.load(folder / "shortlist.npz")
    shortlist([range(min(5, len(shortlist.offsets) - 1))])


def load_both(folder):
    kt.pretrained.load(folder)
    kt.pretrained.load_tokenizer(folder)


def load_gguf(folder):
    kt.TextGenerator.from_pretrained(folder / "model.gguf")


def load_tokenizers(folder):
    kt.pretrained.load_tokenizer(folder)
    kt.pretrained.load_tokenizer(folder, target=True)


GENERATOR = kt.TextGenerator.from_pretrained
TRANSLATOR = kt.Translator.from_pretrained
TOKENIZER = kt.pretrained.load_tokenizer
SUBJECTS = {
    "safetensors": Subject(write_gpt2, GENERATOR),
    "shards": Subject(write_sharded, GENERATOR),
    "torch": Subject(write_torch, GENERATOR),
    "marian": Subject(write_marian, TRANSLATOR),
    "firefox": Subject(write_firefox, TRANSLATOR),
    "gguf": Subject(write_gguf, load_gguf),
    "sentence_encoder": Subject(write_sentence_encoder, load_both),
    "text_generator": Subject(write_text_generator, kt.TextGenerator.load),
    "translator": Subject(write_translator, kt.Translator.load),
    "lora": Subject(write_lora, load_lora),
    "shortlist": Subject(write_shortlist, load_shortlist),
    "merges": Subject(folders.gpt2, TOKENIZER),
    "tokenizer_json": Subject(lambda folder: folders.bert(folder, whole=True), TOKENIZER),
    "vocab_txt": Subject(folders.bert, TOKENIZER),
    "unigram_spm": Subject(folders.t5, TOKENIZER),
    "fairseq_spm": Subject(folders.xlm_roberta, TOKENIZER),
    "marian_spm": Subject(folders.marian, load_tokenizers),
    "m2m_spm": Subject(folders.m2m_100, TOKENIZER),
}


def files_of(folder):
    """The files of a folder by their places in it, sorted."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def copy(folder, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)


# === Helpers of tests ===


def refused(name, folder, message):
    """The loader raises a ValueError with the message."""
    with pytest.raises(ValueError, match=f"(?s){message}"):
        SUBJECTS[name].load(folder)


def edit(path, **changes):
    """Changes the values of a JSON object."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(path, name, change):
    """Replaces an entry of a zip archive by a function of its content."""
    with zipfile.ZipFile(path) as archive:
        entries = {one: archive.read(one) for one in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for one, data in {**entries, name: change(entries[name])}.items():
            archive.writestr(one, data)
