"""Subword tokenizers: training, encoding, decoding, and their folder on disk."""

import json
import os
import pathlib
import subprocess
import sys

import keras_hub
import numpy as np
import pytest

from keras_transformer import data
from keras_transformer.data.tokenizers import tokenizer_folder as storage

TEXTS = [
    "The cat sat on the mat.",
    "A dog sat on the log, and the cat saw the dog.",
    "Où est le chat ? Le chat est là !",
    "Le chien n'a pas vu le chat.",
    "The dog and the cat sat there, and they saw the mat on the log.",
    "Le chien et le chat sont allés là où le chat a vu le chien.",
    "That is what the cat thought about the dog, and the dog about the cat.",
]

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tokenizer():
    return data.train_tokenizer(TEXTS, vocabulary_size=52)


@pytest.fixture(scope="module")
def byte_pair_tokenizer():
    pieces = ["<pad>", "<unk>", "<s>", "</s>", "b", "u", "t", "e", "r", "bu", "tt", "er", "butt"]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "butter"])}
    merges = ["b u", "t t", "e r", "bu tt", "butt er"]
    return keras_hub.tokenizers.BytePairTokenizer(vocabulary, merges)


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_reserved_ids_and_size(model_type):
    tokenizer = data.train_tokenizer(TEXTS, vocabulary_size=50, model_type=model_type)
    assert tokenizer.vocabulary_size() == 50
    assert tokenizer.get_vocabulary()[:4] == ["<pad>", "<unk>", "<s>", "</s>"]
    assert data.encode(tokenizer, ["☃"])[0][-1] == data.UNKNOWN_ID


def test_training_is_deterministic_and_keeps_the_texts(tokenizer):
    again = data.train_tokenizer(iter(TEXTS), vocabulary_size=52)
    assert again.proto == tokenizer.proto
    assert data.decode(tokenizer, data.encode(tokenizer, TEXTS)) == TEXTS


def test_french_spaces_become_plain(tokenizer):
    plain, *others = data.encode(tokenizer, [f"chat{space}?" for space in " \u00a0\u202f"])
    assert others == [plain, plain]
    assert data.UNKNOWN_ID not in plain


def test_start_end_and_max_length(tokenizer):
    (plain,) = data.encode(tokenizer, TEXTS[:1])
    assert len(plain) > 4
    assert data.encode(tokenizer, TEXTS[:1], start=True, end=True) == [[2, *plain, 3]]
    cut = data.encode(tokenizer, TEXTS[:1], start=True, end=True, max_length=5)
    assert cut == [[2, *plain[:3], 3]]
    assert all(type(token_id) is int for token_id in plain)
    assert data.encode(tokenizer, []) == []


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_lossless(model_type):
    symbols = ("<unk>", "<s>")
    tokenizer = data.train_tokenizer(
        TEXTS, vocabulary_size=310, model_type=model_type, lossless=True, symbols=symbols
    )
    lines = ["the <unk> cat", "<unk>", "日本 😀 ﬁ ½\u00a0x", "a  b", "", " x ", "<s> </s> <0x41>"]
    rows = data.encode(tokenizer, lines)
    assert data.decode(tokenizer, rows) == lines
    assert data.UNKNOWN_ID not in sum(rows, [])
    assert rows[1].count(tokenizer.token_to_id("<unk>")) == 1
    assert tokenizer.token_to_id("<unk>") > data.END_ID


def test_long_lines_are_not_skipped():
    # Of 6,000 bytes, where SentencePiece's own limit is 4,192.
    tokenizer = data.train_tokenizer(["zq" * 3000, "ab"], vocabulary_size=9)
    assert data.UNKNOWN_ID not in data.encode(tokenizer, ["zq"])[0]


def test_decode_cuts_at_the_end_and_drops_padding(tokenizer):
    (row,) = data.encode(tokenizer, TEXTS[:1])
    rows = [[2, *row, 3, 7, 3, 9], [3, 7] + [0] * (len(row) + 3), [0, 2, *row, 0, 0, 0]]
    expected = [TEXTS[0], "", TEXTS[0]]
    assert data.decode(tokenizer, [*rows, []]) == [*expected, ""]
    width = max(map(len, rows))
    array = np.array([r + [0] * (width - len(r)) for r in rows], dtype="int32")
    assert data.decode(tokenizer, array) == expected
    assert data.decode(tokenizer, []) == []


def test_byte_pair_tokenizer(byte_pair_tokenizer):
    rows = data.encode(byte_pair_tokenizer, ["butter", "butt"], start=True, end=True)
    assert rows == [[2, 13, 3], [2, 12, 3]]
    assert data.decode(byte_pair_tokenizer, rows) == ["butter", "butt"]


def test_decode_without_reserved_ids(byte_pair_tokenizer):
    rows = [[13, 3, 0]]
    assert data.decode(byte_pair_tokenizer, rows, end_id=None) == ["butter</s>"]
    assert data.decode(byte_pair_tokenizer, rows, end_id=None, padding_id=None) == [
        "butter</s><pad>"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": []}, "`texts` must contain at least one string that is not blank"),
        ({"texts": ["", " \n"]}, "`texts` must contain at least one string that is not blank"),
        ({"texts": "one string"}, "`texts` must be an iterable of strings, not one string"),
        ({"texts": ["a", 5]}, r"`texts` must contain strings. Received: texts\[1\]=5"),
        ({"vocabulary_size": 4}, "`vocabulary_size` must be an integer >= 5"),
        ({"vocabulary_size": 52.0}, "`vocabulary_size` must be an integer"),
        ({"vocabulary_size": 10}, r"must be at least \d\d for these texts. .*vocabulary_size=10"),
        ({"vocabulary_size": 999}, r"must be at most \d\d for these texts. .*vocabulary_size=999"),
        ({"vocabulary_size": 200, "lossless": True}, "must be an integer >= 261"),
        ({"model_type": "word"}, '`model_type` must be "unigram" or "bpe"'),
        ({"character_coverage": 7.0}, "SentencePiece rejected `texts` or another argument"),
        ({"texts": ["a \ud800"]}, "SentencePiece rejected `texts` or another argument"),
        ({"symbols": ["<x>", "a b"]}, r"must contain non-empty strings .* symbols\[1\]='a b'"),
    ],
)
def test_training_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.train_tokenizer(**{"texts": TEXTS, "vocabulary_size": 52} | arguments)


def test_limits_in_the_message_are_reachable():
    with pytest.raises(ValueError) as error:
        data.train_tokenizer(TEXTS, vocabulary_size=999)
    limit = int(str(error.value).split("at most ")[1].split()[0])
    assert data.train_tokenizer(TEXTS, vocabulary_size=limit).vocabulary_size() == limit


def test_encode_errors(tokenizer):
    with pytest.raises(ValueError, match=r"Received: texts\[1\]=None"):
        data.encode(tokenizer, ["a", None])
    with pytest.raises(ValueError, match="`max_length` must be at least 3"):
        data.encode(tokenizer, ["a"], start=True, end=True, max_length=2)
    padding = keras_hub.tokenizers.SentencePieceTokenizer(tokenizer.proto, sequence_length=5)
    with pytest.raises(ValueError, match="must not have a `sequence_length`"):
        data.encode(padding, ["a"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[5], [5, 52]], "below the vocabulary size of 52. Received: id 52 in row 1"),
        (np.array([[5, -1]]), "Received: id -1 in row 0"),
        ([[5], [0.5]], r"one sequence of integers per row. Received: ids\[1\]"),
        ([5, 6], r"one sequence of integers per row. Received: ids\[0\]=5"),
        (np.array([5, 6]), r"integers of shape \(N, T\)"),
        (np.array([[5.0]]), r"integers of shape \(N, T\).*float64"),
    ],
)
def test_decode_errors(tokenizer, ids, message):
    with pytest.raises(ValueError, match=message):
        data.decode(tokenizer, ids)


def test_save_and_load(tokenizer, byte_pair_tokenizer, tmp_path):
    word_piece = keras_hub.tokenizers.WordPieceTokenizer(
        ["[PAD]", "[UNK]", "the", "qu", "##ick", "日", "本", "日本"],
        lowercase=True,
        split_on_cjk=False,
    )
    for index, original in enumerate([tokenizer, byte_pair_tokenizer, word_piece]):
        folder = tmp_path / str(index)
        data.save_tokenizer(original, folder)
        loaded = data.load_tokenizer(folder)
        assert type(loaded) is type(original)
        assert loaded.get_vocabulary() == original.get_vocabulary()
        texts = ["THE quick 日本", "butter", *TEXTS] if index != 1 else ["butter", "butt"]
        assert data.encode(loaded, texts) == data.encode(original, texts)
        assert not [name for name in os.listdir(folder) if name.startswith(".")]
    assert loaded.split_on_cjk is False  # which keras-hub's own config forgets


def test_a_failed_save_leaves_the_old_tokenizer(tokenizer, tmp_path, monkeypatch):
    data.save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "notes.txt").write_text("kept")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = data.train_tokenizer(TEXTS, vocabulary_size=40)
    monkeypatch.setattr(storage.json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        data.save_tokenizer(other, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    data.save_tokenizer(other, tmp_path)
    assert data.load_tokenizer(tmp_path).vocabulary_size() == 40
    assert (tmp_path / "notes.txt").read_text() == "kept"


def test_save_errors(tmp_path):
    class SentencePieceTokenizer(keras_hub.tokenizers.SentencePieceTokenizer):
        pass

    with pytest.raises(ValueError, match="`tokenizer` must be one of SentencePieceTokenizer"):
        data.save_tokenizer(SentencePieceTokenizer(), tmp_path)
    with pytest.raises(ValueError, match="No vocabulary has been set"):
        data.save_tokenizer(keras_hub.tokenizers.SentencePieceTokenizer(), tmp_path)
    assert not list(tmp_path.iterdir())


def _edited(saved, **changes):
    return json.dumps(saved | changes).encode()


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("config.json", lambda _: None, "no readable file .*config.json"),
        ("vocabulary.spm", lambda _: None, "no readable file .*vocabulary.spm"),
        ("config.json", lambda _: b"{", "config.json` must be a JSON file"),
        ("config.json", lambda _: b"\xff", "config.json` must be a JSON file.*decode"),
        ("config.json", lambda _: b"[]", "config.json` must contain a JSON object"),
        ("config.json", lambda c: _edited(c, class_name="os.system"), "not describe a known"),
        ("config.json", lambda c: _edited(c, class_name=["x"]), "not describe a known"),
        ("config.json", lambda c: _edited(c, format_version=9), "format version 9 instead of 1"),
        ("config.json", lambda c: _edited(c, config={"proto": "x"}), "config.json, with unknown"),
        ("config.json", lambda c: _edited(c, config={"dtype": {}}), "config.json, with unknown"),
        ("config.json", lambda c: _edited(c, config={"dtype": "float32"}), "integer type"),
        ("vocabulary.spm", lambda _: b"", "vocabulary.spm, which is not a SentencePiece"),
        ("vocabulary.spm", lambda _: b"hello", "vocabulary.spm, which is not a SentencePiece"),
    ],
)
def test_load_errors(tokenizer, tmp_path, name, edit, message):
    data.save_tokenizer(tokenizer, tmp_path)
    content = edit(json.loads((tmp_path / "config.json").read_text()))
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocabulary.json", b"{", "vocabulary.json` must be a JSON file"),
        ("vocabulary.json", b"{}", "vocabulary.json and .*merges.txt, not accepted by keras-hub"),
        ("merges.txt", b"\xff", "merges.txt` must be a file of UTF-8 text"),
    ],
)
def test_load_errors_of_byte_pairs(byte_pair_tokenizer, tmp_path, name, content, message):
    data.save_tokenizer(byte_pair_tokenizer, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.load_tokenizer(tmp_path)


@pytest.mark.parametrize("package", ["keras_hub", "sentencepiece"])
def test_missing_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"`{package}`.*keras-transformer-layers\[text\]"):
        data.train_tokenizer(TEXTS, vocabulary_size=52)


WITHOUT_TENSORFLOW = """
import sys, tempfile
sys.modules["tensorflow"] = None
from keras_transformer import data
texts = ["a cat sat", "a dog sat on a cat"]
tokenizer = data.train_tokenizer(texts, vocabulary_size=15)
with tempfile.TemporaryDirectory() as folder:
    data.save_tokenizer(tokenizer, folder)
    tokenizer = data.load_tokenizer(folder)
rows = data.encode(tokenizer, texts, start=True, end=True)
print(data.decode(tokenizer, rows) == texts, rows)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_tensorflow(backend):
    environment = os.environ | {"KERAS_BACKEND": backend}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    assert result.returncode == 0, result.stderr
    texts = ["a cat sat", "a dog sat on a cat"]
    tokenizer = data.train_tokenizer(texts, vocabulary_size=15)
    rows = data.encode(tokenizer, texts, start=True, end=True)
    assert result.stdout.strip() == f"True {rows}"


@pytest.mark.slow
def test_importing_data_loads_no_text_library():
    code = (
        "import sys, keras; before = set(sys.modules);"
        "import keras_transformer.data, keras_transformer.datasets;"
        "print({m.split('.')[0] for m in set(sys.modules) - before})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=True,
    )
    loaded = result.stdout
    assert "keras_transformer" in loaded
    for name in ("keras_hub", "sentencepiece", "tensorflow", "tokenizers", "torch"):
        assert f"'{name}'" not in loaded
