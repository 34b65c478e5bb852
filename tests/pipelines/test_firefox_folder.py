"""A folder of Firefox Translations as a `Translator`, against a plain program in numpy."""

import io
import math

import numpy as np
import pytest
import sentencepiece

import keras_transformer as kt
from tests.harness import BACKEND
from tests.pretrained.firefox import (
    SETTINGS,
    TWO_VOCABULARIES,
    Plain,
    quantized,
    random_tensors,
    to_bytes,
)
from tests.pretrained.test_firefox import shortlist_bytes

TEXTS = ["a cat sat", "the dog", "the cat sat on the mat and the dog sat on the log", "log cat"]
NUM_FIRST = 4


def train(texts, size):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 3),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        eos_id=0,
        unk_id=1,
        bos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.fixture(scope="module")
def vocabulary():
    return train(TEXTS, 30)


def write(folder, settings, vocabularies):
    """Writes model, vocabularies and shortlist; vocabularies are SentencePiece models by name."""
    (folder / "model.xxyy.bin").write_bytes(to_bytes(settings, random_tensors(settings)))
    for name, model in vocabularies.items():
        (folder / f"{name}.xxyy.spm").write_bytes(model.serialized_model_proto())
    source_size, target_size = settings["dim-vocabs"]
    offsets = np.minimum(np.arange(source_size + 1), 20) * 3
    ids = np.random.default_rng(0).integers(0, target_size, offsets[-1])
    data = shortlist_bytes(offsets.tolist(), ids.tolist(), num_first=NUM_FIRST)
    (folder / "lex.50.50.xxyy.s2t.bin").write_bytes(data)


@pytest.fixture(scope="module")
def folder(vocabulary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("xxyy")
    size = vocabulary.vocab_size()
    write(folder, {**SETTINGS, "dim-vocabs": [size, size]}, {"vocab": vocabulary})
    return folder


@pytest.fixture(scope="module")
def translator(folder):
    return kt.Translator.from_pretrained(folder)


def plain_translation(settings, vocabularies, text):
    """One sentence: greedy among its candidates, at most 2.5 tokens for each of the source's."""
    source_vocabulary, target_vocabulary = vocabularies
    size = target_vocabulary.vocab_size()
    plain = Plain(settings, quantized(random_tensors(settings)))
    source = [*source_vocabulary.encode(text), 0]
    lists = np.random.default_rng(0).integers(0, size, 60).reshape(20, 3)
    candidates = set(range(NUM_FIRST)) | {i for s in source if s < 20 for i in lists[s]}
    rest = [i for i in range(size) if i not in candidates]
    candidates = sorted([*candidates, *rest[: -len(candidates) % 8]])
    target = []
    while len(target) < math.ceil(2.5 * len(source)):
        logits = plain.logits(source, target)[-1]
        token = candidates[int(np.argmax(logits[candidates]))]
        if token == 0:
            break
        target.append(int(token))
    return target_vocabulary.decode(target)


@pytest.mark.slow
def test_translations(translator, vocabulary):
    settings = {**SETTINGS, "dim-vocabs": [vocabulary.vocab_size()] * 2}
    expected = [plain_translation(settings, [vocabulary] * 2, text) for text in TEXTS]
    assert len(set(expected)) == len(TEXTS) and all(expected)
    assert translator.translate(TEXTS) == expected
    assert [translator.translate(text) for text in TEXTS] == expected
    assert translator.translate(TEXTS, batch_size=2) == expected


@pytest.mark.slow
def test_beams_take_candidates_too(translator):
    results = translator.translate(TEXTS, num_beams=3, num_return=2)
    sources = kt.data.encode(translator.source_tokenizer, TEXTS, end=True)
    for best, row in zip(results, translator.shortlist(sources), strict=True):
        for translation in best:
            (ids,) = kt.data.encode(translator.target_tokenizer, [translation.text])
            assert translation.score < 0
            pieces = {translator.target_tokenizer.id_to_token(i) for i in row}
            text = "".join(translator.target_tokenizer.id_to_token(i) for i in ids)
            assert all(any(character in piece for piece in pieces) for character in text)


@pytest.mark.slow
def test_saved_and_loaded(translator, tmp_path):
    translator.save(tmp_path / "saved")
    again = kt.Translator.load(tmp_path / "saved")
    assert again.translate(TEXTS) == translator.translate(TEXTS)
    assert again.defaults == translator.defaults and again.defaults.max_length_factor == 2.5
    (tmp_path / "saved" / "shortlist.npz").write_bytes(b"PK something")
    with pytest.raises(ValueError, match="shortlist.npz` must be a shortlist written by `save`"):
        kt.Translator.load(tmp_path / "saved")


# === Two vocabularies ===

OTHER_TEXTS = ["ein hund bellt laut", "die katze im haus", "vier rote haeuser", "wo ist der zug"]
SIDES = {"source larger": (TEXTS + OTHER_TEXTS, OTHER_TEXTS), "target larger": (TEXTS, OTHER_TEXTS)}


@pytest.fixture(scope="module", params=SIDES)
def two(request, tmp_path_factory):
    """A folder with two vocabularies, and what wrote it."""
    vocabularies = [train(texts, 41) for texts in SIDES[request.param]]
    settings = {**TWO_VOCABULARIES, "dim-vocabs": [one.vocab_size() for one in vocabularies]}
    source, target = settings["dim-vocabs"]
    assert source > target if request.param == "source larger" else source < target
    folder = tmp_path_factory.mktemp("two")
    write(folder, settings, dict(zip(("srcvocab", "trgvocab"), vocabularies, strict=True)))
    return folder, settings, vocabularies


@pytest.mark.slow
def test_translations_with_two_vocabularies(two, tmp_path):
    folder, settings, vocabularies = two
    translator = kt.Translator.from_pretrained(folder)
    expected = [plain_translation(settings, vocabularies, text) for text in TEXTS]
    assert len(set(expected)) == len(TEXTS) and all(expected)
    assert translator.translate(TEXTS) == expected
    assert translator.translate(TEXTS, batch_size=2) == expected
    translator.save(tmp_path / "saved")
    assert kt.Translator.load(tmp_path / "saved").translate(TEXTS) == expected
    padding = max(settings["dim-vocabs"])
    for tokenizer in (translator.source_tokenizer, translator.target_tokenizer):
        assert tokenizer.padding_id == tokenizer.start_id == padding
        assert tokenizer.vocabulary_size() == padding + 1
    # Ids that only the source's vocabulary has are never generated.
    assert translator.defaults.banned_ids == tuple(range(settings["dim-vocabs"][1], padding + 1))


@pytest.mark.slow
def test_a_prefix_outside_of_the_shortlist(two):
    folder, _, vocabularies = two
    translator = kt.Translator.from_pretrained(folder)
    found = translator.translate(TEXTS, target_prefix="die katze", num_beams=2)
    assert all(text.startswith("die katze") for text in found)
    (row,) = kt.data.encode(translator.source_tokenizer, TEXTS[:1], end=True)
    (candidates,) = translator.shortlist([row])
    assert not set(vocabularies[1].encode("die katze")) <= set(candidates)


@pytest.mark.slow
def test_two_vocabularies_learn_from_pairs(two):
    translator = kt.Translator.from_pretrained(two[0])
    source, target = translator.source_tokenizer, translator.target_tokenizer
    batches = kt.data.TranslationBatches(
        kt.data.encode(source, TEXTS),
        kt.data.encode(target, OTHER_TEXTS),
        start_id=target.start_id,
        end_id=target.end_id,
        padding_id=target.padding_id,
    )
    model = translator.model
    recipe = {"hidden_dim": 12, "learning_rate": 0.02, "label_smoothing": 0.0}
    recipe["padding_id"] = target.padding_id
    model.compile(**kt.training.transformer_recipe(**recipe), jit_compile=BACKEND == "jax")
    before = model.evaluate(batches, verbose=0, return_dict=True)
    model.fit(batches, epochs=100, verbose=0)
    after = model.evaluate(batches, verbose=0, return_dict=True)
    assert after["loss"] < 0.5 * before["loss"]


def test_vocabularies_that_are_missing(two, tmp_path):
    for path in two[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "trgvocab.xxyy.spm").rename(tmp_path / "vocab.xxyy.spm")
    message = r"`folder` must contain one file vocab.*trgvocab.*\['vocab.xxyy.*', 'srcvocab.xxyy"
    with pytest.raises(ValueError, match=message):
        kt.pretrained.load_tokenizer(tmp_path)
    (tmp_path / "vocab.xxyy.spm").unlink()
    with pytest.raises(ValueError, match=r"Received: \['srcvocab.xxyy.spm'\] in"):
        kt.Translator.from_pretrained(tmp_path)


@pytest.mark.slow
def test_it_learns_from_pairs(folder):
    """Plain `fit` on a few pairs."""
    model = kt.pretrained.load(folder)
    tokenizer = kt.pretrained.load_tokenizer(folder)
    pairs = {"a cat sat": "the dog", "the dog": "sat on the mat", "log cat": "a log a log"}
    batches = kt.data.TranslationBatches(
        kt.data.encode(tokenizer, pairs),
        kt.data.encode(tokenizer, pairs.values()),
        start_id=tokenizer.start_id,
        end_id=tokenizer.end_id,
        padding_id=tokenizer.padding_id,
    )
    model.compile(
        **kt.training.transformer_recipe(
            hidden_dim=12,
            learning_rate=0.02,
            label_smoothing=0.0,
            padding_id=tokenizer.padding_id,
        ),
        jit_compile=BACKEND == "jax",
    )
    before = model.evaluate(batches, verbose=0, return_dict=True)
    model.fit(batches, epochs=60, verbose=0)
    after = model.evaluate(batches, verbose=0, return_dict=True)
    assert after["loss"] < 0.5 * before["loss"]
    assert after["masked_accuracy"] > before["masked_accuracy"] + 0.3
