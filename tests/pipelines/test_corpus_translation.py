"""Corpora that a translator translates: equal to `translate`, resumable, and scored."""

import json

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.pipelines import corpus_translation
from tests.decoding.reference import enliven

TEXTS = [
    "the cat sat on the mat",
    "a dog ran after the cat",
    "the old dog slept",
    "where is the red house",
    "the house is on the hill",
    "a cat",
    "the hill",
]
LIMIT = {"max_new_tokens": 7, "verbose": 0}


@pytest.fixture(scope="module")
def translator():
    tokenizer = kt.data.train_tokenizer(TEXTS, vocabulary_size=40, model_type="bpe")
    model = kt.models.transformer(40, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32)
    return kt.Translator(enliven(model), tokenizer)


@pytest.fixture(scope="module")
def greedy(translator):
    return translator.translate(TEXTS, max_new_tokens=7)


@pytest.mark.slow
def test_translates_as_the_translator_does(translator, greedy):
    assert len(set(greedy)) > 2
    assert kt.translate_corpus(translator, TEXTS, **LIMIT) == greedy
    assert kt.translate_corpus(translator, iter(TEXTS), chunk_size=3, **LIMIT) == greedy


@pytest.mark.slow
def test_beams(translator, tmp_path):
    options = {"num_beams": 3, "length_penalty": 1.0, "max_new_tokens": 7}
    expected = translator.translate(TEXTS, **options)
    file = tmp_path / "pairs.jsonl"
    found = kt.translate_corpus(translator, TEXTS, file, chunk_size=4, verbose=0, **options)
    assert found == expected
    assert kt.read_translations(file) == (TEXTS, expected)


def test_shows_its_progress_on_request(translator, capsys):
    kt.translate_corpus(translator, TEXTS, chunk_size=3, max_new_tokens=2)
    assert "7/7" in capsys.readouterr().out
    kt.translate_corpus(translator, TEXTS, **LIMIT)
    assert not capsys.readouterr().out


class Interrupted(Exception):
    pass


def interrupt_after(num_batches, monkeypatch):
    """Lets only some batches be translated, and counts them."""
    calls = []

    def limited(*arguments):
        calls.append(arguments)
        if num_batches is not None and len(calls) > num_batches:
            raise Interrupted
        return kt.pipelines.translation_search.translate_rows(*arguments)

    monkeypatch.setattr(corpus_translation, "translate_rows", limited)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["greedy", "random", kt.decoding.TopK(5)])
def test_an_interrupted_run_continues(translator, tmp_path, monkeypatch, sampler):
    options = {"sampler": sampler, "seed": 3, "batch_size": 2, "chunk_size": 3, **LIMIT}
    whole = kt.translate_corpus(translator, TEXTS, **options)
    file = tmp_path / "new" / "pairs.jsonl"
    # Chunks of 3, 3 and 1 texts are 2, 2 and 1 batches.
    interrupt_after(3, monkeypatch)
    with pytest.raises(Interrupted):
        kt.translate_corpus(translator, TEXTS, file, **options)
    assert kt.read_translations(file) == (TEXTS[:3], whole[:3])
    # A process that dies while it writes leaves an incomplete line.
    with open(file, "ab") as opened:
        opened.write(json.dumps([TEXTS[3], "unfinished"]).encode()[:-9])
    assert kt.read_translations(file) == (TEXTS[:3], whole[:3])
    calls = interrupt_after(None, monkeypatch)
    assert kt.translate_corpus(translator, TEXTS, file, **options) == whole
    assert len(calls) == 3
    assert kt.read_translations(file) == (TEXTS, whole)
    # What is complete is only read.
    assert kt.translate_corpus(translator, TEXTS, file, **options) == whole
    assert len(calls) == 3


def test_samples_differ_between_seeds_chunks_and_batches(translator, greedy):
    options = {"sampler": "random", "batch_size": 2, "chunk_size": 4, **LIMIT}
    texts = 6 * TEXTS[:1]
    samples = kt.translate_corpus(translator, texts, seed=1, **options)
    assert kt.translate_corpus(translator, texts, seed=1, **options) == samples
    assert kt.translate_corpus(translator, texts, seed=2, **options) != samples
    # The same random numbers in each batch, or in each chunk, would give two or four.
    assert len(set(samples)) > 4


def test_texts_of_all_kinds_come_back_from_the_file(tmp_path):
    file = kt.pipelines.translation_file.TranslationFile(tmp_path / "pairs.jsonl", {"seed": 1})
    texts = ["a\tb\nc", '"quoted"', "\u2028 \u00e9 猫", "a"]
    assert file.resume(texts) == []
    file.append(texts, ["", *texts[:3]])
    assert kt.read_translations(tmp_path / "pairs.jsonl") == (texts, ["", *texts[:3]])


def test_other_texts_settings_and_weights_are_rejected(translator, tmp_path):
    file = tmp_path / "pairs.jsonl"
    kt.translate_corpus(translator, TEXTS[:3], file, **LIMIT)
    before = file.read_bytes()
    for texts, index in ((TEXTS[1:], 0), (TEXTS[:2], 2), ([*TEXTS[:2], "a cat", *TEXTS], 2)):
        with pytest.raises(ValueError, match=f"same texts, in their order.*whose text {index} is"):
            kt.translate_corpus(translator, texts, file, **LIMIT)
    for options, name in (
        ({"num_beams": 2}, "num_beams"),
        ({"sampler": "random"}, "batch_size, chunk_size, sampler, seed"),
        ({"max_new_tokens": 8}, "max_new_tokens"),
    ):
        with pytest.raises(ValueError, match=f"which differs in {name}"):
            kt.translate_corpus(translator, TEXTS, file, **{**LIMIT, **options})
    bias = translator.model.weights[-1]
    value = keras.ops.convert_to_numpy(bias).copy()
    bias.assign(value + 1e-3)
    with pytest.raises(ValueError, match="which differs in weights"):
        kt.translate_corpus(translator, TEXTS, file, **LIMIT)
    bias.assign(value)
    assert file.read_bytes() == before
    # Greedy translations do not depend on the sizes, and more texts may follow.
    assert len(kt.translate_corpus(translator, TEXTS, file, chunk_size=2, **LIMIT)) == 7


@pytest.mark.parametrize("content", ["my corpus\n", "[1]\n", '{"kind": "else"}\n', "no line"])
def test_foreign_files_are_left_alone(translator, tmp_path, content):
    file = tmp_path / "mine.txt"
    file.write_text(content)
    for call in (
        lambda: kt.translate_corpus(translator, TEXTS, file, **LIMIT),
        lambda: kt.read_translations(file),
    ):
        with pytest.raises(ValueError, match="`file` must be new or a file written by"):
            call()
    assert file.read_text() == content


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "`texts` must contain at least one text"),
        (["a", " "], {}, r"Received: texts\[1\]=' '"),
        (TEXTS, {"num_beams": 0}, "`num_beams` must be a positive integer"),
        (TEXTS, {"chunk_size": 0}, "`chunk_size` must be a positive integer"),
        (TEXTS, {"seed": -1}, "`seed` must be an integer >= 0"),
        (TEXTS, {"sampler": "random", "num_beams": 2}, "`num_beams` must be 1 with a sampler"),
        (TEXTS, {"target_language": "fr"}, "`target_language` must be None"),
    ],
)
def test_messages(translator, texts, options, message):
    with pytest.raises(ValueError, match=message):
        kt.translate_corpus(translator, texts, verbose=0, **options)


# --- Scores ---


@pytest.mark.slow
def test_scores_are_means_of_the_models_log_probabilities(translator):
    translations = ["the cat", "a dog on the hill", "", "house"]
    found = kt.score_translations(translator, TEXTS[:4], translations, batch_size=3)
    for text, translation, value in zip(TEXTS, translations, found, strict=False):
        (source,) = kt.data.encode(translator.source_tokenizer, [text], end=True)
        (target,) = kt.data.encode(translator.target_tokenizer, [translation], end=True)
        inputs = {
            "source_ids": np.array([source]),
            "target_ids": np.array([[kt.data.START_ID, *target[:-1]]]),
        }
        logits = keras.ops.convert_to_numpy(translator.model(inputs))[0].astype("float64")
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        expected = log_probs[np.arange(len(target)), target].mean()
        assert value == pytest.approx(expected, rel=1e-4)
    assert found.dtype == "float32" and (found < 0).all()


def test_scores_filter_what_does_not_belong_together(translator, greedy):
    sources, targets = TEXTS + TEXTS, greedy + greedy[1:] + greedy[:1]
    scores = kt.score_translations(translator, sources, targets)
    assert scores[:7].mean() > scores[7:].mean()
    kept = kt.data.filter_pairs(sources, targets, scores=scores, keep=0.5, deduplicate=False)
    pairs = [pair for pair in zip(sources, targets, strict=True) if pair[1]]
    assert 0 < len(kept[0]) == round(len(pairs) / 2)
    left = [score for score, text in zip(scores, targets, strict=True) if text]
    threshold = sorted(left, reverse=True)[len(kept[0]) - 1]
    found = kt.score_translations(translator, *kept)
    assert found.min() == pytest.approx(threshold, abs=1e-5)


def test_messages_of_scores(translator):
    with pytest.raises(ValueError, match="`translations` must have as many items as `sources`"):
        kt.score_translations(translator, TEXTS, TEXTS[1:])
    with pytest.raises(ValueError, match=r"Received: sources\[0\]=''"):
        kt.score_translations(translator, [""], ["a"])
