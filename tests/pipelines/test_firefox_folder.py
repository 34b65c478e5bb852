"""A folder of Firefox Translations as a `Translator`, against a plain program in numpy."""

import io
import math

import numpy as np
import pytest
import sentencepiece

import keras_transformer as kt
from tests.pretrained.firefox import SETTINGS, Plain, quantized, random_tensors, to_bytes
from tests.pretrained.test_firefox import shortlist_bytes

TEXTS = ["a cat sat", "the dog", "the cat sat on the mat and the dog sat on the log", "log cat"]
NUM_FIRST = 4


@pytest.fixture(scope="module")
def vocabulary():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3),
        model_writer=model,
        vocab_size=30,
        hard_vocab_limit=False,
        eos_id=0,
        unk_id=1,
        bos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.fixture(scope="module")
def folder(vocabulary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("xxyy")
    size = vocabulary.vocab_size()
    settings = {**SETTINGS, "dim-vocabs": [size, size]}
    (folder / "model.xxyy.bin").write_bytes(to_bytes(settings, random_tensors(settings)))
    (folder / "vocab.xxyy.spm").write_bytes(vocabulary.serialized_model_proto())
    offsets = np.minimum(np.arange(size + 1), 20) * 3
    ids = np.random.default_rng(0).integers(0, size, offsets[-1])
    data = shortlist_bytes(offsets.tolist(), ids.tolist(), num_first=NUM_FIRST)
    (folder / "lex.50.50.xxyy.s2t.bin").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def translator(folder):
    return kt.Translator.from_pretrained(folder)


def plain_translation(vocabulary, text):
    """One sentence: greedy among its candidates, at most 2.5 tokens for each of the source's."""
    size = vocabulary.vocab_size()
    settings = {**SETTINGS, "dim-vocabs": [size, size]}
    plain = Plain(settings, quantized(random_tensors(settings)))
    source = [*vocabulary.encode(text), 0]
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
    return vocabulary.decode(target)


@pytest.mark.slow
def test_translations(translator, vocabulary):
    expected = [plain_translation(vocabulary, text) for text in TEXTS]
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
        )
    )
    before = model.evaluate(batches, verbose=0, return_dict=True)
    model.fit(batches, epochs=60, verbose=0)
    after = model.evaluate(batches, verbose=0, return_dict=True)
    assert after["loss"] < 0.5 * before["loss"]
    assert after["masked_accuracy"] > before["masked_accuracy"] + 0.3
