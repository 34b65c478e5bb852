"""Marian's tokenizer on its own; the folders it comes from are tested with `kt.pretrained`."""

import pytest

from keras_transformer import data
from keras_transformer.data.tokenizers.interface import clean_spaces
from tests.pretrained import folders

TEXTS = ["the cat sat on the mat", "a dog sat on the log"]
PROTO = folders.sentence_piece(TEXTS, 30)
TOKENS = ["</s>", "<unk>", ">>fra<<", *folders.pieces_of(PROTO)[3:], "<pad>"]
VOCABULARY = {token: index for index, token in enumerate(TOKENS)}
IDS = {"unknown_id": 1, "padding_id": len(TOKENS) - 1, "end_id": 0}


def make(**changes):
    return data.MarianTokenizer(**{"proto": PROTO, "vocabulary": VOCABULARY, **IDS, **changes})


def test_ids_are_those_of_the_vocabulary():
    tokenizer = make()
    rows = tokenizer([*TEXTS, ""])
    pieces = [[tokenizer.id_to_token(token_id) for token_id in row] for row in rows]
    assert ["".join(row).replace("\u2581", " ").strip() for row in pieces] == [*TEXTS, ""]
    assert tokenizer.detokenize(rows) == [*TEXTS, ""]
    assert tokenizer.token_to_id("\u2581no such piece") == 1
    assert tokenizer.vocabulary_size() == len(TOKENS)


def test_whole_tokens():
    tokenizer = make()
    (code, special, between) = tokenizer([">>fra<<the cat", "the</s>cat", "the >>fra<< cat"])
    assert code[0] == 2 and code[1:] == tokenizer(["the cat"])[0]
    assert special == [*tokenizer(["the"])[0], 0, *tokenizer(["cat"])[0]]
    assert 2 not in between  # a code stands at the beginning
    assert tokenizer.detokenize([special]) == ["the cat"]
    assert make(special_tokens=()).detokenize([tokenizer([">>fra<< the cat"])[0]]) == [
        ">>fra<< the cat"
    ]
    assert 0 not in make(special_tokens=())(["the</s>cat"])[0]


def test_the_longest_special_token_wins():
    vocabulary = {**VOCABULARY, "<pad>s": len(TOKENS)}
    tokenizer = make(vocabulary=vocabulary, special_tokens=["<pad>", "<pad>s"])
    assert tokenizer(["<pad>s"]) == [[len(TOKENS)]]


def test_ids_without_a_token_have_no_text():
    tokenizer = make(vocabulary_size=99)
    assert tokenizer.vocabulary_size() == 99
    assert tokenizer.id_to_token(98) == ""
    assert tokenizer.detokenize([[98, *tokenizer(TEXTS[:1])[0], 98]]) == TEXTS[:1]


def test_spaces_before_punctuation():
    text = "it 's a cat , is n't it ? I 've no ' idea ' !"
    assert clean_spaces(text) == "it's a cat, isn't it? I've no'idea '!"
    proto = folders.sentence_piece(["a cat , a dog ."], 20)
    tokens = ["</s>", "<unk>", *folders.pieces_of(proto)[3:], "<pad>"]
    options = {"vocabulary": {t: i for i, t in enumerate(tokens)}, "padding_id": len(tokens) - 1}
    tokenizer = make(proto=proto, clean_up_spaces=True, **options)
    assert tokenizer.detokenize(tokenizer(["a cat , a dog ."])) == ["a cat, a dog."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proto": b"x"}, "`proto` must be the content of a SentencePiece model"),
        ({"vocabulary": {}}, "`vocabulary` must be a non-empty mapping from tokens to ids. .*={}"),
        ({"vocabulary": ["a"]}, r"must be a non-empty mapping .*vocabulary=\['a'\]"),
        ({"vocabulary": {"a": 0, "b": 0}}, "a distinct id, .* Received: 0 for 'b'"),
        ({"vocabulary": {"a": True}}, "an integer >= 0. Received: True for 'a'"),
        ({"special_tokens": ["<x>"]}, r"must contain all `special_tokens`. Received: no \['<x>'"),
        ({"special_tokens": "</s>"}, "`special_tokens` must be a sequence of strings"),
        ({"unknown_id": None}, "`unknown_id` must be an integer. Received: unknown_id=None"),
        ({"vocabulary_size": 5}, "`vocabulary_size` must be an integer >= "),
        ({"end_id": -1}, "`end_id` must be at least 0"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
