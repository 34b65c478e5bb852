"""Tokens as a person reads them."""

import json

import pytest
import tokenizers

import keras_transformer as kt
from keras_transformer.explorer.answer_json import to_json
from keras_transformer.explorer.token_texts import TokenTexts
from tests.explorer import TEXTS, tiny_tokenizer


def texts_of(tokenizer, text):
    texts = TokenTexts(tokenizer, tokenizer.vocabulary_size())
    return texts(tokenizer([text])[0])


def test_spaces_of_sentencepiece():
    found = texts_of(tiny_tokenizer(), "the cat [MASK]")
    assert "".join(found) == "␣the␣cat␣[MASK]"


def test_bytes_that_cut_characters_and_line_ends():
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=sorted(alphabet))
    theirs.train_from_iterator([*TEXTS, "été"] * 3, trainer)
    tokenizer = kt.data.HuggingFaceTokenizer(theirs.to_str())
    assert "".join(texts_of(tokenizer, "the cat\n\tété")) == "the␣cat⏎⇥été"
    assert texts_of(tokenizer, "猫") == ["<0xE7>", "<0x8C>", "<0xAB>"]


def test_letters_of_wordpiece_are_not_taken_for_bytes():
    words = {"[UNK]": 0, "été": 1, "##s": 2}
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    tokenizer = kt.data.HuggingFaceTokenizer(theirs.to_str())
    assert TokenTexts(tokenizer, 3).texts == ["[UNK]", "été", "##s"]


def test_word_ends_of_gpt1():
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE({"a</w>": 0, "b": 1}, []))
    tokenizer = kt.data.HuggingFaceTokenizer(theirs.to_str())
    assert TokenTexts(tokenizer, 2).texts == ["a␣", "b"]


def test_special_ids_without_a_piece_and_ids_of_the_model_alone():
    proto = tiny_tokenizer().proto
    size = tiny_tokenizer().vocabulary_size()
    tokenizer = kt.data.SentencePieceTokenizer(proto, padding_id=size, start_id=size)
    assert TokenTexts(tokenizer, size + 2).texts[size:] == ["<start>", f"<{size + 1}>"]


@pytest.mark.parametrize(
    "text", ["</script>", "&amp;", "a\u2028b", "\u202eabc", "e\u0301", "\ud800"]
)
def test_odd_characters_survive_json(text):
    read = json.loads(to_json({"text": text}).decode("utf-8"))
    assert read["text"] == text.replace("\ud800", "?")


def test_numbers_that_json_lacks_are_null():
    import numpy as np

    answer = {"a": float("nan"), "b": np.float32("-inf"), "c": np.array([1.5, np.inf]), 3: (1,)}
    assert json.loads(to_json(answer)) == {"a": None, "b": None, "c": [1.5, None], "3": [1]}
