"""A tokenizer.json on its own; the folders it comes from are tested with `kt.pretrained`."""

import sys

import pytest
import tokenizers

from keras_transformer import data

WORDS = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "the": 4, "cat": 5, "##s": 6, ".": 7}
IDS = {"unknown_id": 0, "start_id": 1, "end_id": 2, "padding_id": 3}


@pytest.fixture
def content():
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(WORDS, unk_token="[UNK]"))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    theirs.decoder = tokenizers.decoders.WordPiece(prefix="##", cleanup=False)
    theirs.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    theirs.enable_padding(length=9)
    theirs.enable_truncation(4)
    return theirs.to_str()


def test_rows_are_bare_and_whole(content):
    tokenizer = data.HuggingFaceTokenizer(content, **IDS)
    texts = ["the cats the cats the cats", "the", ""]
    assert tokenizer(texts) == [[4, 5, 6] * 3, [4], []]
    assert data.encode(tokenizer, ["the"], start=True, end=True) == [[1, 4, 2]]
    assert data.decode(tokenizer, [[1, 4, 5, 6, 2, 3, 3], [3, 4]]) == ["the cats", "the"]


def test_tokens_and_ids(content):
    tokenizer = data.HuggingFaceTokenizer(content, **IDS, vocabulary_size=20)
    assert tokenizer.token_to_id("cat") == 5
    assert tokenizer.id_to_token(5) == "cat"
    assert tokenizer.token_to_id("dog") == 0
    assert tokenizer.id_to_token(19) == ""
    assert tokenizer.detokenize([[19, 4]]) == ["the"]
    assert data.HuggingFaceTokenizer(content).token_to_id("dog") is None
    with pytest.raises(ValueError, match="`token_id` must be at least 0 and below .* size of 20"):
        tokenizer.id_to_token(20)


def test_spaces_before_punctuation(content):
    rows = [[4, 5, 7]]
    assert data.HuggingFaceTokenizer(content).detokenize(rows) == ["the cat ."]
    cleaning = data.HuggingFaceTokenizer(content, clean_up_spaces=True)
    assert cleaning.detokenize(rows) == ["the cat."]


@pytest.mark.parametrize("wrong", ["", "{", "{}", "[1]", None])
def test_no_tokenizer(wrong):
    with pytest.raises(ValueError, match="`content` must be the content of a tokenizer.json"):
        data.HuggingFaceTokenizer(wrong)


def test_ids_outside_of_the_vocabulary(content):
    with pytest.raises(ValueError, match="`end_id` must be an integer or None"):
        data.HuggingFaceTokenizer(content, end_id="2")
    with pytest.raises(ValueError, match="`vocabulary_size` must be an integer >= 8"):
        data.HuggingFaceTokenizer(content, vocabulary_size=7)


def test_bad_texts(content):
    tokenizer = data.HuggingFaceTokenizer(content)
    with pytest.raises(ValueError, match=r"must contain valid Unicode. Received: texts\[1\]"):
        tokenizer(["a", "\udfff"])


def test_the_missing_extra_is_named(content, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"`tokenizers`.*keras-transformer-layers\[text\]"):
        data.HuggingFaceTokenizer(content)
