"""Everything that takes texts checks them first, in one wording, and names the caller's index."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.data.tokenizers.text_checks import check_text, check_texts
from tests.robustness.pipelines import make_pipelines
from tests.robustness.texts import byte_tokenizer

GOOD = ["the cat sat", "a dog ran"]
SURROGATE = r"with the lone surrogate '\\ud800' at index 4"


@pytest.fixture(scope="module")
def pipelines():
    return make_pipelines()


def tokenizers_of(tokenizer):
    pieces = tokenizer.get_vocabulary()
    ids = {piece: index for index, piece in enumerate(pieces)}
    return {
        "keras_hub": tokenizer,
        "SentencePieceTokenizer": kt.data.SentencePieceTokenizer(tokenizer.proto),
        "MarianTokenizer": kt.data.MarianTokenizer(
            tokenizer.proto, ids, unknown_id=1, end_id=3, special_tokens=pieces[:4]
        ),
        "HuggingFaceTokenizer": byte_tokenizer(GOOD),
    }


# What takes texts, by name; each with the name of its argument.
CALLS = {
    "encode": ("texts", lambda p, texts: kt.data.encode(p.generator.tokenizer, texts)),
    "train": ("texts", lambda p, texts: kt.data.train_tokenizer(texts, 20)),
    "tag": ("texts", lambda p, texts: kt.data.add_tag(p.generator.tokenizer, texts, "t")),
    "filter": ("targets", lambda p, texts: kt.data.filter_pairs(["x"] * 3, texts)),
    "noise": ("sources", lambda p, texts: kt.data.add_noise(texts, texts, [])),
    "generate": ("texts", lambda p, texts: p.generator.generate(texts)),
    "translate": ("texts", lambda p, texts: p.translator.translate(texts)),
    "document": ("text", lambda p, texts: p.translator.translate_document(texts)),
    "prefix": (
        "target_prefix",
        lambda p, texts: p.translator.translate(["x"] * 3, target_prefix=texts),
    ),
    "corpus": ("texts", lambda p, texts: kt.translate_corpus(p.translator, texts, verbose=0)),
    "score": ("sources", lambda p, texts: kt.score_translations(p.translator, texts, ["x"] * 3)),
    "translations": (
        "translations",
        lambda p, texts: kt.score_translations(p.translator, ["x"] * 3, texts),
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_lone_surrogate_is_named(pipelines, call):
    name, function = CALLS[call]
    message = rf"`{name}` must contain valid Unicode. Received: {name}\[2\] {SURROGATE}"
    with pytest.raises(ValueError, match=message):
        function(pipelines, [*GOOD, "odd \ud800"])


@pytest.mark.parametrize("call", [call for call in CALLS if call != "prefix"])
def test_what_is_no_string_is_named(pipelines, call):
    name, function = CALLS[call]
    with pytest.raises(ValueError, match=rf"`{name}` must contain .*strings.*{name}\[2\]=None"):
        function(pipelines, [*GOOD, None])
    with pytest.raises(ValueError, match=f"`{name}` must be an iterable of str.*{name}=None|list"):
        function(pipelines, None)


@pytest.mark.parametrize(
    "kind", ["keras_hub", "SentencePieceTokenizer", "MarianTokenizer", "HuggingFaceTokenizer"]
)
def test_every_tokenizer(pipelines, kind):
    tokenizer = tokenizers_of(pipelines.generator.tokenizer)[kind]
    with pytest.raises(ValueError, match=rf"`texts` must contain valid Unicode.*\[1\] {SURROGATE}"):
        kt.data.encode(tokenizer, ["a cat", "odd \ud800"])
    assert len(kt.data.encode(tokenizer, np.array(GOOD))) == 2
    assert kt.data.encode(tokenizer, (text for text in GOOD)) == kt.data.encode(tokenizer, GOOD)


def test_one_text():
    assert check_text("a") == "a" and check_text(" ") == " "
    with pytest.raises(ValueError, match="`text` must contain non-blank strings.*text=' '"):
        check_text(" ", filled=True)
    with pytest.raises(ValueError, match="`text` must contain strings. Received: text=5"):
        check_text(5)
    with pytest.raises(ValueError, match="`messages` must contain valid Unicode"):
        check_text("\udfff", "messages")


def test_long_texts_are_shortened_in_messages():
    with pytest.raises(ValueError) as caught:
        check_texts(["a", b"x" * 1_000_000])
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError) as caught:
        check_texts("x" * 1_000_000)
    assert len(str(caught.value)) < 200


def test_a_bad_text_is_found_before_any_work(pipelines, monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("a text was continued")

    monkeypatch.setattr("keras_transformer.pipelines.text_generator.start", fail)
    monkeypatch.setattr("keras_transformer.pipelines.translator.translate_rows", fail)
    texts = ["a cat"] * 777
    long = "the cat " * 100
    generate = pipelines.generator.generate
    with pytest.raises(ValueError, match=r"non-blank strings. Received: texts\[777\]=' '"):
        generate([*texts, " "])
    with pytest.raises(
        ValueError, match=r"positions. Received: texts\[777\] of length \d+ for 160"
    ):
        generate([*texts, long])
    message = r"`texts` and `max_new_tokens` must fit .*texts\[777\] of length (\d+) and .*=150"
    with pytest.raises(ValueError, match=message):
        generate([*texts, "a cat sat on the old red mat"], max_new_tokens=150)
    with pytest.raises(ValueError, match=r"Received: texts\[777\]=''"):
        pipelines.translator.translate([*texts, ""])
    with pytest.raises(AssertionError, match="a text was continued"):
        generate(texts)


def test_a_source_that_is_too_long_is_named_by_its_place(pipelines):
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16}
    model = kt.models.transformer(300, position_layout="learned", max_length=24, **sizes)
    keras.utils.set_random_seed(3)
    translator = kt.Translator(model, pipelines.generator.tokenizer)
    texts = ["a cat", "the cat " * 40, "a dog"]
    with pytest.raises(ValueError, match=r"positions. Received: texts\[1\] of length \d+ for 24"):
        translator.translate(texts)
