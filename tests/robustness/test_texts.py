"""Real sentences in many scripts survive encoding and decoding, and odd ones are refused."""

import pytest

import keras_transformer as kt
from tests.robustness.scripts import script_of, sentences_by_script
from tests.robustness.texts import check, lossless, make_tokenizers, normalized

SCRIPTS = ("LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "HANGUL", "CJK", "HEBREW", "THAI", "GREEK")
PER_SCRIPT = 60
ODD = [
    "e\u0301 n\u0303 a\u0308\u0304 combining",  # becomes precomposed in NFKC
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 family, \U0001f1eb\U0001f1f7 flag, \u2764\ufe0f",
    "שלום\u200f world \u202aembedded\u202c",
    "می\u200cخواهم",  # with a zero-width non-joiner
    "ﬁne ½ ① ＡＢＣ ｶﾞ",  # compatibility characters
    "  two  spaces\tand a tab ",
    "control \x01\x7f and NUL \x00 characters",
]


@pytest.fixture(scope="module")
def sentences():
    found = sentences_by_script(PER_SCRIPT)
    assert all(len(found[script]) == PER_SCRIPT for script in SCRIPTS)
    return [sentence for script in SCRIPTS for sentence in found[script]]


@pytest.fixture(scope="module")
def tokenizers(sentences):
    texts = [*sentences, *map(normalized, ODD)]
    size = len(set("".join([*sentences, *ODD, *texts]))) + 300
    return make_tokenizers([*sentences, *ODD], size)


def test_script_of():
    assert script_of("(a) б") == "LATIN" and script_of("1. б") == "CYRILLIC"
    assert script_of("123") is None


@pytest.mark.slow
def test_sentences_of_nine_scripts_are_unchanged(tokenizers, sentences):
    for name, (tokenizer, normalize) in tokenizers.items():
        check(name, tokenizer, [normalize(sentence) for sentence in sentences])


@pytest.mark.slow
def test_odd_texts_are_unchanged_where_promised(tokenizers):
    for name, (tokenizer, normalize) in tokenizers.items():
        check(name, tokenizer, [normalize(text) for text in ODD])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unigram", "bpe", "lossless unigram"])
def test_sampled_subwords_are_the_same_text(tokenizers, sentences, name):
    tokenizer, normalize = tokenizers[name]
    check(name, tokenizer, [normalize(sentence) for sentence in sentences], sampling=0.3, seed=5)


@pytest.mark.slow
def test_what_normalization_does_not_keep(tokenizers):
    """The exceptions that the documentation names are exceptions."""
    tokenizer, _ = tokenizers["unigram"]
    for text, kept in (
        ("a\u200fb", "a b"),
        ("a\u200cb", "a b"),
        ("a\u00a0b", "a b"),
        ("a\x7fb", "ab"),
    ):
        assert kt.data.decode(tokenizer, kt.data.encode(tokenizer, [text])) == [kept]
    tokenizer, _ = tokenizers["lossless bpe"]
    for text in ("a\u200db", "a\u200cb", "a\u00a0b", " a  b "):
        assert lossless(text) == text
        assert kt.data.decode(tokenizer, kt.data.encode(tokenizer, [text])) == [text]
