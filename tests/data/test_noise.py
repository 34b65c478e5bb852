"""Noise in sentence pairs: exact results, reproducible, and no broken characters."""

import unicodedata

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.data import CaseNoise, CopyNoise, TypoNoise, add_noise
from keras_transformer.data.typos import neighbors, split_letters

JAPANESE = "猫はマットの上に座った。"
DECOMPOSED = unicodedata.normalize("NFD", "Él vivió año a año")
TEXTS = [
    "The cat sat on the mat.",
    "Don't go!",
    JAPANESE,
    DECOMPOSED,
    "A",
    "3.5 €",
    "Straße nach Köln",
]


class Scripted:
    """A generator whose random numbers are given."""

    def __init__(self, numbers=(), choices=(), integers=(), count=1):
        self.numbers, self.integers_given = iter(numbers), iter(integers)
        self.choices, self.count = list(choices), count

    def random(self, size=None):
        if size is None:
            return next(self.numbers)
        return np.array([next(self.numbers) for _ in range(size)])

    def binomial(self, places, rate):
        self.drawn_from = (places, rate)
        return self.count

    def choice(self, places, count, replace):
        assert not replace and len(self.choices) == count and set(self.choices) <= set(places)
        self.places = list(places)
        return np.array(self.choices)

    def integers(self, bound):
        value = next(self.integers_given)
        assert 0 <= value < bound
        return value


def random():
    return np.random.default_rng(5)


# --- Case ---


@pytest.mark.parametrize(
    ("form", "source", "expected"),
    [
        ("upper", "Don't go, élan!", "DON'T GO, ÉLAN!"),
        ("upper", "Straße", "STRASSE"),
        ("lower", "Don't GO, ÉLAN!", "don't go, élan!"),
        ("lower", "ΟΔΟΣ", "οδος"),
        ("title", "don't go “now” to NASA, 3rd élan", "Don't Go “Now” To NASA, 3rd Élan"),
        ("title", unicodedata.normalize("NFD", "élan"), unicodedata.normalize("NFD", "Élan")),
        ("title", "ǆep", "ǅep"),
    ],
)
def test_case_exactly(form, source, expected):
    changed, target = CaseNoise(**{form: 1.0}, in_targets=())(source, "Ça va", random())
    assert (changed, target) == (expected, "Ça va")
    assert CaseNoise(**{form: 1.0}, in_targets=[form])("x", source, random())[1] == expected


def test_random_case_letter_by_letter():
    noise = CaseNoise(random=1.0)
    drawn = Scripted([0.3, 0.9, 0.1, 0.2, 0.7])
    assert noise("abCd", "Abc", drawn) == ("aBCd", "Abc")
    # A mark has no case, and the letters of the target may be changed as well.
    drawn = Scripted([0.0] + 4 * [0.0] + 2 * [0.9])
    both = CaseNoise(random=1.0, in_targets=["random"])
    assert both("o\u0301\u03b1\u0345", "NO", drawn) == ("O\u0301\u0391\u0345", "no")


def test_which_case_and_where():
    noise = CaseNoise(upper=0.1, title=0.2, lower=0.3, random=0.0)
    found = [noise("A cat", "Un Chat", Scripted([draw])) for draw in (0.05, 0.15, 0.35, 0.65)]
    assert found == [
        ("A CAT", "UN CHAT"),
        ("A Cat", "Un Chat"),
        ("a cat", "Un Chat"),
        ("A cat", "Un Chat"),
    ]


@pytest.mark.parametrize("form", ["upper", "title", "lower", "random"])
def test_scripts_without_case_stay(form):
    noise = CaseNoise(**{form: 1.0}, in_targets=[form])
    assert noise(JAPANESE, "สวัสดี नमस्ते 안녕", random()) == (JAPANESE, "สวัสดี नमस्ते 안녕")


# --- Typos ---


@pytest.mark.parametrize(
    ("kind", "source", "place", "expected"),
    [
        ("swap", "the cat", 0, "hte cat"),
        ("swap", "the cat", 5, "the cta"),
        ("drop", "the cat", 2, "th cat"),
        ("double", "the cat", 4, "the ccat"),
        # Marks move, go and double with their letters.
        ("swap", "o\u0301\u0323n", 0, "no\u0301\u0323"),
        ("drop", "o\u0301\u0323n", 0, "n"),
        ("double", "o\u0301\u0323n", 0, "o\u0301\u0323o\u0301\u0323n"),
        ("swap", "नमस्ते", 0, "मनस्ते"),
        ("drop", "नमस्ते", 2, "नमते"),
        ("swap", "東京都", 1, "東都京"),
        ("double", unicodedata.normalize("NFD", "한국"), 0, unicodedata.normalize("NFD", "한한국")),
    ],
)
def test_one_typo_exactly(kind, source, place, expected):
    noise = TypoNoise(probability=1.0, kinds=[kind])
    assert noise(source, "le chat", Scripted([0.5], [place], [0])) == (expected, "le chat")


def test_neighboring_keys():
    assert set(neighbors("qwerty")["s"]) == set("awedzx")
    assert set(neighbors("qwerty")["q"]) == set("wa")
    assert "z" in neighbors("qwertz")["t"] and "z" in neighbors("azerty")["e"]
    for keyboard in ("qwerty", "qwertz", "azerty"):
        found = neighbors(keyboard)
        assert set(found) == set("abcdefghijklmnopqrstuvwxyz")
        assert all(one in found[other] for one in found for other in found[one])
    noise = TypoNoise(probability=1.0, kinds=["key"])
    keys = neighbors("qwerty")["c"]
    assert noise("Cat", "x", Scripted([0.5], [0], [0, 1])) == (f"{keys[1].upper()}at", "x")
    # Letters that are on no key of the layout have no neighbors.
    assert noise(JAPANESE, "x", random()) == (JAPANESE, "x")


def test_kinds_that_are_possible_are_equally_likely():
    noise = TypoNoise(probability=1.0)
    # "é" is on no key, and the last letter has no next one: only "drop" and "double" remain.
    assert noise("thé", "x", Scripted([0.5], [2], [1]))[0] == "théé"
    # Equal letters are not swapped.
    drawn = Scripted([0.5], [0], [0])
    assert TypoNoise(probability=1.0, kinds=["swap"])("aab", "x", random())[0] == "aba"
    assert noise("oo", "x", drawn)[0] == "o"


def test_several_typos_do_not_touch_the_same_letter():
    noise = TypoNoise(probability=1.0, rate=0.5, kinds=["swap"])
    drawn = Scripted([0.5], [0, 1, 2], [0, 0], count=3)
    assert noise("abcde", "x", drawn)[0] == "badce"
    assert drawn.drawn_from == (4, 0.5)
    noise = TypoNoise(probability=1.0, rate=1.0, kinds=["drop"])
    assert noise("is it a cat", "x", random())[0] == "s t a a"


def test_what_is_no_word_stays():
    noise = TypoNoise(probability=1.0, rate=1.0)
    for text in ["A 3.5 €!", "", " ", "👩‍👩‍👧 🇫🇷 👍🏽", "I"]:
        assert noise(text, "x", random()) == (text, "x")


def test_the_probability_is_that_of_a_typo():
    sources = ["the cat sat on the mat"] * 2000
    noisy, targets = add_noise(sources, sources, TypoNoise(probability=0.3, rate=0.0), seed=3)
    assert targets == sources
    changed = [text for text in noisy if text != sources[0]]
    assert abs(len(changed) - 600) < 100
    assert all(abs(len(text) - len(sources[0])) <= 1 for text in changed)


@pytest.mark.parametrize("seed", range(5))
def test_characters_are_never_torn_apart(seed):
    marked = ["o\u0301\u0323n\u0303e", "नमस्ते दुनिया", DECOMPOSED, "क्\u200dष क्ष", "می\u200cخواهم"]
    noise = TypoNoise(probability=1.0, rate=0.6)
    noisy, _ = add_noise(marked, marked, noise, seed)
    for text, found in zip(marked, noisy, strict=True):
        assert found != text and found.strip()
        known = set(split_letters(text))
        new = {cell for cell in split_letters(found) if cell not in known}
        # Only neighboring keys bring anything new, and they are plain letters.
        assert all(len(cell) == 1 and cell.isascii() for cell in new)


# --- Copies, and all of them together ---


def test_copies():
    assert CopyNoise(0.25)("a cat", "un chat", Scripted([0.24])) == ("un chat", "un chat")
    assert CopyNoise(0.25)("a cat", "un chat", Scripted([0.25])) == ("a cat", "un chat")


NOISE = [CaseNoise(upper=0.3, random=0.3), TypoNoise(probability=0.5), CopyNoise(0.2)]


def test_a_seed_gives_one_version_of_a_corpus():
    sources, targets = 40 * TEXTS, [f"{text} (translated)" for text in 40 * TEXTS]
    first = add_noise(sources, targets, NOISE, seed=7)
    assert add_noise(sources, targets, NOISE, seed=7) == first
    assert add_noise(sources, targets, NOISE, seed=8) != first
    # A pair does not depend on those around it, except for its index.
    fewer = add_noise(sources[:9], targets[:9], NOISE, seed=7)
    assert fewer == (first[0][:9], first[1][:9])
    # The same text is changed in different ways.
    assert len({first[0][index] for index in range(0, len(sources), len(TEXTS))}) > 3


def test_noise_is_applied_in_order():
    noise = [CopyNoise(1.0), CaseNoise(upper=1.0, in_targets=())]
    assert add_noise(["a"], ["un"], noise) == (["UN"], ["un"])
    assert add_noise(["a"], ["un"], noise[::-1]) == (["un"], ["un"])
    assert add_noise(["a"], ["un"], lambda source, target, generator: (source * 3, target)) == (
        ["aaa"],
        ["un"],
    )


def test_noisy_pairs_become_batches():
    texts = [text for text in TEXTS if text.isascii()]
    tokenizer = kt.data.train_tokenizer(texts, 40, model_type="bpe", lossless=False)
    sources, targets = add_noise(texts, texts, TypoNoise(probability=1.0), seed=1)
    rows = kt.data.encode(tokenizer, sources), kt.data.encode(tokenizer, targets)
    noisy = kt.data.TranslationBatches(*rows, tokens_per_batch=64, max_shapes=1)
    clean = kt.data.TranslationBatches(rows[1], rows[1], tokens_per_batch=64, max_shapes=1)
    mixed = kt.data.MixedBatches([clean, noisy], weights=[1, 1], num_batches=4, seed=0)
    read = [kt.data.decode(tokenizer, mixed[index][0]["source_ids"]) for index in range(4)]
    seen = {text for batch in read for text in batch if text}
    assert seen & set(texts) and seen - set(texts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CaseNoise(upper=-0.1), r"`upper` must be in the range \[0, 1\].*upper=-0.1"),
        (
            lambda: CaseNoise(upper=0.6, lower=0.6),
            "`random` must sum to at most 1. Received: upper=0.6, title=0.0, lower=0.6",
        ),
        (lambda: CaseNoise(in_targets=["camel"]), "`in_targets` must be one of.*'camel'"),
        (lambda: TypoNoise(probability=2), r"`probability` must be in the range \[0, 1\]"),
        (lambda: TypoNoise(rate=None), r"`rate` must be in the range \[0, 1\].*rate=None"),
        (lambda: TypoNoise(kinds=["slip"]), "`kinds` must be one of .*'slip'"),
        (lambda: TypoNoise(kinds=[]), "`kinds` must contain at least one kind"),
        (lambda: TypoNoise(keyboard="dvorak"), "`keyboard` must be one of.*'dvorak'"),
        (lambda: CopyNoise(True), r"`probability` must be in the range \[0, 1\]"),
        (lambda: add_noise(["a"], [], []), "`targets` must have as many items as `sources`"),
        (lambda: add_noise("a", ["b"], []), "`sources` must be an iterable of strings"),
        (lambda: add_noise(["a"], ["b"], [], seed=-1), "`seed` must be an integer >= 0"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ValueError, match=message):
        make()
