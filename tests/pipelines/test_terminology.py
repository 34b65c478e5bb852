"""Terminology: translations that contain the given translations of terms."""

import pytest

import keras_transformer as kt
from keras_transformer.pipelines.terminology import check_room_for_terms, find_terms
from tests.decoding.reference import enliven

SENTENCES = [
    "the cat sat on the mat",
    "a dog ran after the cat",
    "the old dog slept",
    "where is the red house",
    "the house is on the hill",
]


@pytest.fixture(scope="module", params=[("bpe", 40), ("unigram", 31)], ids=lambda one: one[0])
def tokenizer(request):
    model_type, size = request.param
    return kt.data.train_tokenizer(SENTENCES, vocabulary_size=size, model_type=model_type)


@pytest.fixture(scope="module")
def translator():
    tokenizer = kt.data.train_tokenizer(SENTENCES, vocabulary_size=40, model_type="bpe")
    model = kt.models.transformer(40, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
    return kt.Translator(enliven(model), tokenizer)


def found_terms(tokenizer, text, terminology):
    """The texts of the alternatives that are forced for a text."""
    (terms,) = find_terms([text], terminology, tokenizer)
    return [kt.data.decode(tokenizer, term.alternatives) for term in terms]


@pytest.mark.parametrize(
    ("text", "terminology", "expected"),
    [
        ("the cat sat", {"cat": "dog"}, [["dog"]]),
        ("the cats sat", {"cat": "dog"}, []),
        ("a bobcat, a cat_", {"cat": "dog"}, []),
        ("(cat)", {"cat": "dog"}, [["dog"]]),
        ("The CAT, a Cat", {"cat": "dog"}, [["dog"]]),
        ("the cat", {"Cat": "dog"}, []),
        ("the Cat", {"Cat": "dog", "cat": "hill"}, [["dog"]]),
        ("the old   cat sat", {"cat": "dog", "old cat": "red house"}, [["red house"]]),
        ("an old cat, a cat", {"cat": "dog", "old cat": "hill"}, [["hill"], ["dog"]]),
        ("the cat", {"cat": ["dog", "the old  dog"]}, [["dog", "the old dog"]]),
        ("C++ is a cat", {"c++": "hill"}, [["hill"]]),
        ("the cat", {}, []),
    ],
)
def test_which_terms_are_found(tokenizer, text, terminology, expected):
    assert found_terms(tokenizer, text, terminology) == expected


@pytest.mark.parametrize("word", ["cat", "house", "the old dog"])
def test_subwords_are_those_inside_a_sentence(tokenizer, word):
    (terms,) = find_terms(["x"], {"x": word}, tokenizer)
    ((ids,),) = (term.alternatives for term in terms)
    whole = kt.data.encode(tokenizer, [f"on {word}"])[0]
    assert whole[len(whole) - len(ids) :] == ids
    assert kt.data.decode(tokenizer, [kt.data.encode(tokenizer, ["on"])[0] + ids]) == [f"on {word}"]


@pytest.mark.slow
def test_translations_contain_the_terms(translator):
    terminology = {"cat": "hill", "the old dog": ["red mat", "a house"], "mat": "slept"}
    options = {"num_beams": 6, "max_new_tokens": 23, "batch_size": 2}
    plain = translator.translate(SENTENCES, **options)
    found = translator.translate(SENTENCES, terminology=terminology, **options)
    assert "hill" in found[0] and "slept" in found[0] and "hill" in found[1]
    assert "red mat" in found[2] or "a house" in found[2]
    assert found[3:] == plain[3:]  # no terms occur in them
    assert found[0] == translator.translate(SENTENCES[0], terminology=terminology, **options)
    several = translator.translate(SENTENCES[0], terminology=terminology, num_return=3, **options)
    assert all("hill" in one.text and "slept" in one.text for one in several)
    assert translator.translate(SENTENCES, terminology={"never": "hill"}, **options) == plain


def test_room_for_terms():
    terms = [[kt.decoding.AnyOf([[5] * 7, [6] * 4]), kt.decoding.AnyOf([[7]])], []]
    assert check_room_for_terms(terms, 3, None) == 6
    assert check_room_for_terms(terms, 11, None) == 11
    assert check_room_for_terms(terms, 5, 5) == 5
    with pytest.raises(ValueError, match="`terminology` must fit `max_new_tokens`.*5 sub.*=4"):
        check_room_for_terms(terms, 4, 4)


@pytest.mark.parametrize(
    ("terminology", "options", "message"),
    [
        (["cat"], {}, r"`terminology` must be a dict. Received: terminology=\['cat'\]"),
        ({"cat": ""}, {}, r"`terminology` must map .*Received: terminology\['cat'\]=''"),
        ({"cat": []}, {}, r"`terminology` must map .*Received: terminology\['cat'\]=\[\]"),
        ({"cat": None}, {}, r"`terminology` must map .*Received: terminology\['cat'\]=None"),
        ({"cat": 5}, {}, r"`terminology` must map .*Received: terminology\['cat'\]=5"),
        ({" ": "dog"}, {}, r"`terminology` must map .*Received: terminology\[' '\]='dog'"),
        ({5: "dog"}, {}, r"`terminology` must map .*Received: terminology\[5\]='dog'"),
        ({"cat": "漢"}, {}, "`terminology` must have translations .*Received: '漢', which becomes"),
        ({"cat": "dog"}, {"num_beams": 1}, "`num_beams` must be at least 2 with a `term.*=1"),
        ({"cat": "the old dog"}, {"max_new_tokens": 1}, "`terminology` must fit `max_new_tokens`"),
    ],
)
def test_messages(translator, terminology, options, message):
    with pytest.raises(ValueError, match=message):
        translator.translate("the cat", terminology=terminology, **{"num_beams": 3, **options})
