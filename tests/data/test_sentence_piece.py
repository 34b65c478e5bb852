"""SentencePiece models with ids of their own, and the special ids of any tokenizer."""

import io

import numpy as np
import pytest
import sentencepiece

from keras_transformer import data

TEXTS = ["the cat sat on the mat", "a dog sat on the log", "Où est le chat ?"]


def train(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3),
        model_writer=model,
        vocab_size=40,
        minloglevel=2,
        hard_vocab_limit=False,
        **options,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def proto():
    """As Firefox's translation models have it."""
    return train(eos_id=0, unk_id=1, bos_id=-1, pad_id=-1)


@pytest.fixture(scope="module")
def pieces(proto):
    return sentencepiece.SentencePieceProcessor(model_proto=proto).vocab_size()


def test_ids_are_the_model_s_own(proto):
    tokenizer = data.SentencePieceTokenizer(proto)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
    texts = [*TEXTS, "", "  two  spaces ", "☃ 日本", "</s> <unk>", "a\u00a0b"]
    assert tokenizer(texts) == [processor.encode(text) for text in texts]
    assert tokenizer.detokenize(tokenizer(texts)) == [
        processor.decode(processor.encode(text)) for text in texts
    ]
    assert data.special_ids(tokenizer) == (None, 1, None, 0)
    assert 0 not in tokenizer(["</s>"])[0]


def test_ids_beyond_the_pieces(proto, pieces):
    tokenizer = data.SentencePieceTokenizer(proto, padding_id=pieces, start_id=pieces)
    assert tokenizer.vocabulary_size() == pieces + 1
    assert data.special_ids(tokenizer) == (pieces, 1, pieces, 0)
    (row,) = data.encode(tokenizer, TEXTS[:1], start=True, end=True)
    assert (row[0], row[-1]) == (pieces, 0)
    assert data.decode(tokenizer, [[*row, pieces, pieces]]) == TEXTS[:1]
    assert tokenizer.detokenize([row]) == TEXTS[:1]
    assert tokenizer.id_to_token(pieces) == ""
    larger = data.SentencePieceTokenizer(proto, vocabulary_size=pieces + 7)
    assert larger.vocabulary_size() == pieces + 7


def test_tokens_and_ids(proto):
    tokenizer = data.SentencePieceTokenizer(proto)
    for token_id in range(tokenizer.vocabulary_size()):
        assert tokenizer.token_to_id(tokenizer.id_to_token(token_id)) == token_id
    assert tokenizer.token_to_id("no such piece") == 1
    with pytest.raises(ValueError, match="`token_id` must be at least 0 and below"):
        tokenizer.id_to_token(-1)


def test_arrays_are_detokenized(proto):
    tokenizer = data.SentencePieceTokenizer(proto)
    (row,) = tokenizer(TEXTS[:1])
    assert tokenizer.detokenize(np.array([row], "int32")) == TEXTS[:1]


def test_a_model_with_special_ids_of_its_own():
    tokenizer = data.SentencePieceTokenizer(train(pad_id=3), end_id=7)
    assert data.special_ids(tokenizer) == (3, 0, 1, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"proto": b""}, "`proto` must be the content of a SentencePiece model"),
        ({"proto": b"hello"}, "`proto` must be .* Received: proto=b'hello'"),
        ({"proto": "hello"}, "as bytes. Received: proto='hello'"),
        ({"vocabulary_size": 5}, "`vocabulary_size` must be an integer >= "),
        ({"vocabulary_size": 90, "start_id": 90}, "`start_id` must be .* below .* size of 90"),
        ({"end_id": -1}, "`end_id` must be at least 0"),
        ({"padding_id": "0"}, "`padding_id` must be an integer or None. Received: padding_id='0'"),
        ({"unknown_id": True}, "`unknown_id` must be an integer or None"),
    ],
)
def test_bad_arguments(proto, arguments, message):
    with pytest.raises(ValueError, match=message):
        data.SentencePieceTokenizer(**{"proto": proto, **arguments})


def test_bad_texts(proto):
    tokenizer = data.SentencePieceTokenizer(proto)
    with pytest.raises(ValueError, match="`texts` must be an iterable of strings, not one"):
        tokenizer("a cat")
    with pytest.raises(ValueError, match=r"`texts` must contain strings. Received: texts\[1\]=3"):
        tokenizer(["a", 3])
    with pytest.raises(ValueError, match=r"must contain valid Unicode. Received: texts\[0\]"):
        tokenizer(["\ud800"])


def test_an_id_that_a_tokenizer_lacks(proto):
    tokenizer = data.SentencePieceTokenizer(proto)
    with pytest.raises(ValueError, match="`start_id` must be given if `tokenizer` has none"):
        data.encode(tokenizer, ["a"], start=True)
    assert data.encode(tokenizer, [""], start=True, start_id=5) == [[5]]


def test_missing_attributes_are_our_constants():
    assert data.special_ids(object()) == (0, 1, 2, 3)


def test_one_id_for_start_and_end(proto):
    tokenizer = data.SentencePieceTokenizer(proto, start_id=0)
    (row,) = data.encode(tokenizer, TEXTS[:1], start=True, end=True)
    assert row[0] == row[-1] == 0
    assert data.decode(tokenizer, [row, row[1:]]) == TEXTS[:1] * 2
