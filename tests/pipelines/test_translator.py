"""The Translator: text in, text out, one folder on disk."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.data import END_ID, PADDING_ID, START_ID, UNKNOWN_ID
from tests.decoding.reference import enliven

SENTENCES = [
    "the cat sat on the mat",
    "a dog ran after the cat",
    "the old dog slept",
    "where is the red house",
    "the house is on the hill",
]


@pytest.fixture(scope="module")
def tokenizer():
    return kt.data.train_tokenizer(SENTENCES, vocabulary_size=40, model_type="bpe")


def make_model(vocabulary_size=40, target_vocabulary_size=None):
    return kt.models.transformer(
        vocabulary_size,
        target_vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
    )


@pytest.fixture(scope="module")
def translator(tokenizer):
    return kt.Translator(enliven(make_model()), tokenizer)


def uncached_translation(translator, text, max_new_tokens):
    """The argmax of the whole model at each step, the specials left out."""
    (row,) = kt.data.encode(translator.source_tokenizer, [text], end=True)
    # Padded to one shape, which JAX compiles once.
    source, target = np.zeros((1, 40), "int32"), np.zeros((1, max_new_tokens + 1), "int32")
    source[0, : len(row)] = row
    target[0, 0] = START_ID
    for step in range(max_new_tokens):
        inputs = {"source_ids": source, "target_ids": target}
        logits = keras.ops.convert_to_numpy(translator.model(inputs))[0, step].copy()
        logits[[PADDING_ID, UNKNOWN_ID, START_ID]] = -np.inf
        target[0, step + 1] = logits.argmax()
        if target[0, step + 1] == END_ID:
            break
    return kt.data.decode(translator.target_tokenizer, target[:, 1:])[0]


@pytest.mark.slow
def test_translates_as_the_whole_model_does(translator):
    expected = [uncached_translation(translator, text, 11) for text in SENTENCES]
    assert translator.translate(SENTENCES, max_new_tokens=11) == expected
    assert len(set(expected)) > 1


@pytest.mark.slow
def test_beams_and_the_best_of_them(translator):
    options = {"max_new_tokens": 7, "num_beams": 3}
    best = translator.translate(SENTENCES, num_return=3, **options)
    assert [len(found) for found in best] == [3] * 5
    for found in best:
        scores = [translation.score for translation in found]
        assert scores == sorted(scores, reverse=True)
    texts = translator.translate(SENTENCES, batch_size=2, **options)
    assert texts == [found[0].text for found in best]
    assert translator.translate(SENTENCES[1], **options) == texts[1]
    sources = kt.data.encode(translator.source_tokenizer, SENTENCES, end=True)
    result = kt.decoding.beam_search(
        translator.model, sources, num_beams=3, max_length=7, banned_ids=(0, 1, 2)
    )
    assert texts == kt.data.decode(translator.target_tokenizer, result.ids[:, 0])


def test_keeps_the_order_given_and_batches_change_nothing(translator):
    alone = [translator.translate(text, max_new_tokens=7) for text in SENTENCES]
    assert translator.translate(SENTENCES, max_new_tokens=7, batch_size=2) == alone
    assert translator.translate(SENTENCES[::-1], max_new_tokens=7, batch_size=3) == alone[::-1]


def test_one_string_gives_one_string(translator):
    assert isinstance(translator.translate(SENTENCES[0], max_new_tokens=3), str)


def test_shows_its_progress_where_asked(translator, capsys):
    translator.translate(SENTENCES, max_new_tokens=2, verbose=1)
    assert "5/5" in capsys.readouterr().out
    translator.translate(SENTENCES, max_new_tokens=2)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "`texts` must contain at least one text"),
        ("", r"Received: texts\[0\]=''"),
        (["a cat", " \t"], r"Received: texts\[1\]=' \\t'"),
        (["a cat", None], r"Received: texts\[1\]=None"),
    ],
)
def test_refuses_what_is_no_text(translator, texts, message):
    with pytest.raises(ValueError, match=message):
        translator.translate(texts)


def test_refuses_a_tokenizer_that_knows_more_ids_than_the_model(tokenizer):
    with pytest.raises(ValueError, match="`source_tokenizer` must not have more ids"):
        kt.Translator(make_model(31, 40), tokenizer)
    with pytest.raises(ValueError, match="`target_tokenizer` must not have more ids"):
        kt.Translator(make_model(40, 31), tokenizer)


def test_refuses_a_language_model(tokenizer):
    lm = kt.models.gpt(40, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
    with pytest.raises(ValueError, match="`model` must have a layer named `encoder`"):
        kt.Translator(lm, tokenizer)


@pytest.mark.slow
def test_save_and_load_translate_alike(translator, tmp_path):
    translator.save(tmp_path / "there" / "folder")
    loaded = kt.Translator.load(tmp_path / "there" / "folder")
    assert loaded.target_tokenizer is loaded.source_tokenizer
    expected = translator.translate(SENTENCES, max_new_tokens=9)
    assert loaded.translate(SENTENCES, max_new_tokens=9) == expected
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["folder"]


def test_two_tokenizers_are_saved_apart(tokenizer, tmp_path):
    other = kt.data.train_tokenizer([text[::-1] for text in SENTENCES], 37, model_type="bpe")
    translator = kt.Translator(make_model(40, 37), tokenizer, other)
    translator.save(tmp_path / "folder")
    loaded = kt.Translator.load(tmp_path / "folder")
    assert loaded.source_tokenizer.get_vocabulary() == tokenizer.get_vocabulary()
    assert loaded.target_tokenizer.get_vocabulary() == other.get_vocabulary()


@pytest.mark.slow
def test_the_optimizer_stays_out_of_the_folder(translator, tmp_path):
    model = make_model()
    translator = kt.Translator(model, translator.source_tokenizer)
    translator.save(tmp_path / "plain")
    model.compile(**kt.training.transformer_recipe(16), jit_compile=False)
    ids = np.array([[4, 5, 6]])
    model.fit({"source_ids": ids, "target_ids": ids}, ids, verbose=0)
    translator.save(tmp_path / "trained")
    plain, trained = (
        (tmp_path / name / "model.keras").stat().st_size for name in ("plain", "trained")
    )
    assert trained < 1.1 * plain


def test_a_translator_is_replaced_and_other_folders_are_not_touched(translator, tmp_path):
    translator.save(tmp_path / "folder")
    translator.save(tmp_path / "folder")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ValueError, match="`folder` must be new, empty or hold a translator"):
        translator.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_a_failed_save_leaves_the_earlier_one(translator, tmp_path, monkeypatch):
    translator.save(tmp_path / "folder")
    before = (tmp_path / "folder" / "model.keras").read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("keras_transformer.pipelines.translator_folder.save_tokenizer", fail)
    with pytest.raises(OSError, match="disk full"):
        translator.save(tmp_path / "folder")
    assert (tmp_path / "folder" / "model.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", ["model.keras", "translator.json", "source_tokenizer"])
def test_a_missing_file_is_named(translator, tmp_path, name):
    folder = tmp_path / "folder"
    translator.save(folder)
    path = folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=name):
        kt.Translator.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.keras", "not a model", "model.keras, which cannot be loaded"),
        ("translator.json", "{", "translator.json` must be a JSON file"),
        ("translator.json", '{"kind": "something"}', "must describe a translator"),
        (
            "translator.json",
            json.dumps(
                {"kind": "keras_transformer.Translator", "format": 99, "shared_tokenizer": True}
            ),
            "Received: format=99",
        ),
        ("source_tokenizer/config.json", "[]", "config.json"),
        ("source_tokenizer/vocabulary.spm", "not a vocabulary", "vocabulary.spm"),
    ],
)
def test_a_foreign_file_is_named(translator, tmp_path, name, content, message):
    translator.save(tmp_path / "folder")
    (tmp_path / "folder" / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        kt.Translator.load(tmp_path / "folder")


@pytest.mark.slow
def test_loads_on_another_backend(translator, tmp_path):
    translator.save(tmp_path / "folder")
    program = (
        "import sys, json, keras_transformer as kt\n"
        "translator = kt.Translator.load(sys.argv[1])\n"
        "print(json.dumps(translator.translate(json.loads(sys.argv[2]), max_new_tokens=9)))"
    )
    other = "torch" if keras.backend.backend() == "jax" else "jax"
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "folder"), json.dumps(SENTENCES)],
        env={**os.environ, "KERAS_BACKEND": other},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = translator.translate(SENTENCES, max_new_tokens=9)
    assert json.loads(result.stdout.splitlines()[-1]) == expected
