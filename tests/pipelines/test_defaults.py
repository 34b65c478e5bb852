"""How a pipeline decodes unless told otherwise, and tokenizers with ids of their own."""

import json

import keras_hub
import pytest

import keras_transformer as kt
from tests.decoding.reference import enliven
from tests.pretrained import folders

TEXTS = ["the cat sat on the mat", "a dog ran after the cat", "where is the red house"]
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}


@pytest.fixture(scope="module")
def tokenizer():
    """As Firefox's: the end is 0, no padding or start among the pieces, one row more for them."""
    options = {"eos_id": 0, "unk_id": 1, "bos_id": -1, "pad_id": -1, "model_type": "bpe"}
    proto = folders.sentence_piece(TEXTS, 30, **options)
    pieces = len(folders.pieces_of(proto))
    return kt.data.SentencePieceTokenizer(proto, padding_id=pieces, start_id=pieces)


@pytest.fixture(scope="module")
def translator(tokenizer):
    size = tokenizer.vocabulary_size()
    model = kt.models.transformer(size, padding_id=size - 1, **SIZE)
    return kt.Translator(enliven(model), tokenizer)


@pytest.mark.slow
def test_special_ids_come_from_the_tokenizer(translator, tokenizer, tmp_path):
    padding = tokenizer.padding_id
    sources = kt.data.encode(tokenizer, TEXTS, end=True)
    assert all(row[-1] == 0 for row in sources)
    arguments = {"start_id": padding, "banned_ids": (padding, 1)}
    ids = kt.decoding.generate(translator.model, sources, 9, stop_ids=(0,), **arguments)
    expected = kt.data.decode(tokenizer, ids)
    assert translator.translate(TEXTS, max_new_tokens=9) == expected
    assert any(expected)
    translator.save(tmp_path / "folder")
    loaded = kt.Translator.load(tmp_path / "folder")
    assert loaded.translate(TEXTS, max_new_tokens=9) == expected
    # As folders were written before translators had defaults.
    path = tmp_path / "folder" / "translator.json"
    description = json.loads(path.read_text())
    del description["defaults"]
    path.write_text(json.dumps(description))
    assert kt.Translator.load(tmp_path / "folder").defaults == kt.DecodingDefaults()


@pytest.mark.slow
def test_defaults_are_what_translate_does(translator, tokenizer):
    (best,) = translator.translate(TEXTS[:1], num_beams=2, num_return=1, max_new_tokens=5)
    other = kt.DecodingDefaults(max_new_tokens=5, length_penalty=2.0, length_normalization="length")
    other = kt.Translator(translator.model, tokenizer, defaults=other)
    (theirs,) = other.translate(TEXTS[:1], num_beams=2, num_return=1)
    assert theirs[0].score > best[0].score
    told = {"length_penalty": 0.6, "length_normalization": "gnmt", "early_stopping": False}
    assert other.translate(TEXTS[:1], num_beams=2, num_return=1, **told) == [best]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"banned_ids": (10**6,)}, "`banned_ids` must be integers from 0 to"),
        ({"banned_ids": "12"}, "`banned_ids` must be integers from 0 to"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be a positive integer"),
        (
            {"length_penalty": "1"},
            "`length_penalty` must be a number. Received: length_penalty='1'",
        ),
        ({"length_normalization": "none"}, "`length_normalization` must be one of .*'none'"),
        (
            {"early_stopping": 1},
            "`early_stopping` must be True or False. Received: early_stopping=1",
        ),
        ({"renormalize": None}, "`renormalize` must be True or False. Received: renormalize=None"),
        ({"min_new_tokens": -1}, "`min_new_tokens` must be an integer >= 0"),
        ({"no_repeat_ngram_size": 1.5}, "`no_repeat_ngram_size` must be an integer >= 0"),
        (
            {"repetition_penalty": 0},
            "`repetition_penalty` must be a finite number > 0. Received: .*=0",
        ),
    ],
)
def test_bad_defaults(translator, tokenizer, changes, message):
    with pytest.raises(ValueError, match=message):
        defaults = kt.DecodingDefaults(**changes)
        kt.Translator(translator.model, tokenizer, defaults=defaults)


@pytest.mark.parametrize("defaults", [3, {"sampler": "os.system"}])
def test_tampered_defaults(translator, tmp_path, defaults):
    translator.save(tmp_path / "folder")
    path = tmp_path / "folder" / "translator.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "defaults": defaults}))
    with pytest.raises(ValueError, match="`defaults` in .*translator.json must be an object"):
        kt.Translator.load(tmp_path / "folder")


def test_a_tokenizer_that_lacks_an_id(translator, tokenizer):
    lacking = kt.data.SentencePieceTokenizer(tokenizer.proto)
    with pytest.raises(ValueError, match="`target_tokenizer` must have the attribute `start_id`"):
        kt.Translator(translator.model, tokenizer, lacking)


def test_what_a_text_generator_bans(tokenizer):
    size = tokenizer.vocabulary_size()
    model = kt.models.gpt(size, max_length=16, **SIZE)
    assert kt.TextGenerator(model, tokenizer).banned_ids == (size - 1,)
    assert kt.TextGenerator(model, tokenizer, banned_ids=[3]).banned_ids == (3,)
    ends = kt.data.SentencePieceTokenizer(tokenizer.proto, padding_id=0)
    assert kt.TextGenerator(model, ends).banned_ids == ()
    theirs = keras_hub.tokenizers.BytePairTokenizer({"<pad>": 0, "a": 1, "aa": 2}, ["a a"])
    assert kt.TextGenerator(model, theirs).banned_ids == (0,)
    with pytest.raises(ValueError, match="`banned_ids` must be integers from 0 to"):
        kt.TextGenerator(model, tokenizer, banned_ids=[size])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"max_length": 0},
            "`max_length` must be a positive integer. Received: max_length=0",
        ),
        ({"max_new_tokens": True}, "`max_new_tokens` must be a positive integer"),
        ({"min_new_tokens": "1"}, "`min_new_tokens` must be an integer >= 0"),
        ({"repetition_penalty": -2.0}, "`repetition_penalty` must be a finite number > 0"),
        ({"sampling": {"sampler": "os.system"}}, "`sampling` must be None or a dict"),
        ({"sampling": "greedy"}, "`sampling` must be None or .* Received: sampling='greedy'"),
        ({"sampling": {"top_k": 0}}, "`top_k` must be at least 1"),
    ],
)
def test_bad_defaults_of_a_text_generator(tokenizer, changes, message):
    model = kt.models.gpt(tokenizer.vocabulary_size(), max_length=16, **SIZE)
    with pytest.raises(ValueError, match=message):
        kt.TextGenerator(model, tokenizer, defaults=kt.GenerationDefaults(**changes))


def test_how_many_tokens_a_text_generator_adds():
    limits = kt.GenerationDefaults(max_length=7).limits
    assert limits([3, 5, 9], None) == [4, 2, 1]
    assert limits([3, 5, 9], 6) == [6, 6, 6]
    assert kt.GenerationDefaults().limits([3], None) == [64]
    assert kt.GenerationDefaults(max_new_tokens=5, max_length=7).limits([3, 6], None) == [5, 5]


@pytest.mark.slow
def test_defaults_of_a_text_generator_are_saved(tokenizer, tmp_path):
    model = kt.models.gpt(tokenizer.vocabulary_size(), max_length=16, **SIZE)
    sampling = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": None}
    defaults = kt.GenerationDefaults(max_length=9, sampling=sampling, repetition_penalty=1.5)
    generator = kt.TextGenerator(model, tokenizer, defaults=defaults)
    text = generator.generate(TEXTS[0], seed=3)
    sampler = kt.decoding.RandomSampler(**sampling)
    told = kt.TextGenerator(model, tokenizer)
    length = len(kt.data.encode(tokenizer, TEXTS[:1])[0])
    options = {"sampler": sampler, "repetition_penalty": 1.5, "seed": 3}
    assert text == told.generate(TEXTS[0], max(1, 9 - length), **options)
    generator.save(tmp_path / "folder")
    loaded = kt.TextGenerator.load(tmp_path / "folder")
    assert loaded.defaults == defaults
    assert loaded.generate(TEXTS[0], seed=3) == text
    # As folders were written before text generators had defaults.
    path = tmp_path / "folder" / "text_generator.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "defaults": {"sampler": "os.system"}}))
    with pytest.raises(ValueError, match="`defaults` in .*text_generator.json must be an object"):
        kt.TextGenerator.load(tmp_path / "folder")
    del description["defaults"]
    path.write_text(json.dumps(description))
    assert kt.TextGenerator.load(tmp_path / "folder").defaults == kt.GenerationDefaults()
