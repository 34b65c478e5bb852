"""Rows of words: tags, questions with contexts, and the spans that answer them."""

import numpy as np
import pytest
import tokenizers

import keras_transformer as kt
from keras_transformer.data.batches.word_rows import encode_words

TEXTS = ["the naïve cats sat on the mats", "こんにちは 世界 cats", "unbelievable mats , cats !"]


def word_piece():
    words = "[PAD] [UNK] [CLS] [SEP] the ##s cat mat sat on , !".split()
    theirs = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return kt.data.HuggingFaceTokenizer(theirs.to_str(), 0, 2, 3, 1)


def byte_level():
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    theirs.train_from_iterator(TEXTS * 3, trainer)
    return kt.data.HuggingFaceTokenizer(theirs.to_str())


def sentence_piece():
    return kt.data.train_tokenizer(TEXTS * 3, vocabulary_size=33)


MAKERS = {"WordPiece": word_piece, "byte-level BPE": byte_level, "SentencePiece": sentence_piece}


@pytest.mark.parametrize("name", MAKERS)
def test_words_are_encoded_as_in_their_sentence(name):
    tokenizer = MAKERS[name]()
    for text, expected in zip(TEXTS, kt.data.encode(tokenizer, TEXTS), strict=True):
        pieces = encode_words(tokenizer, text.split(" "))
        assert [token for piece in pieces for token in piece] == expected
        assert len(pieces) == len(text.split(" "))
    assert encode_words(tokenizer, []) == []


def test_the_first_token_of_a_word_has_its_tag():
    found = kt.data.tagged_rows(word_piece(), [["the", "cats", "sat"], ["mats"]], [[4, 5, 6], [0]])
    assert found.rows == [[2, 4, 6, 5, 8, 3], [2, 7, 5, 3]]
    assert found.labels == [[-1, 4, 5, -1, 6, -1], [-1, 0, -1, -1]]
    assert found.words == [[-1, 0, 1, 1, 2, -1], [-1, 0, 0, -1]]
    short = kt.data.tagged_rows(word_piece(), [["the", "cats", "sat"]], max_length=4)
    assert short == ([[2, 4, 6, 3]], [[-1, 0, 0, -1]], [[-1, 0, 1, -1]])
    # A tokenizer without start and end.
    plain = kt.data.tagged_rows(byte_level(), [["cats"]], [[7]])
    assert plain.labels[0][0] == 7 and set(plain.labels[0][1:]) <= {-1}


def test_questions_with_their_contexts():
    context = ["the", "cats", "sat", "on", "mats"]
    found = kt.data.question_rows(
        word_piece(), ["sat ?"] * 3, [context] * 3, [(1, 4), None, (2, 2)], max_length=64
    )
    assert found.rows[0] == [2, 8, 1, 3, 4, 6, 5, 8, 9, 7, 5, 3]
    assert found.segment_ids[0] == [0] * 4 + [1] * 8
    assert found.words[0] == [-1] * 4 + [0, 1, 1, 2, 3, 4, 4] + [-1]
    assert found.labels == {"start": [5, 0, 7], "end": [10, 0, 7]}
    cut = kt.data.question_rows(word_piece(), ["sat ?"], [context], [(1, 4)], max_length=9)
    assert cut.rows[0] == [2, 8, 1, 3, 4, 6, 5, 8, 3] and cut.labels == {"start": [0], "end": [0]}
    assert kt.data.question_rows(word_piece(), ["sat ?"], [context]).labels is None


def test_the_best_span_is_that_of_brute_force():
    random = np.random.default_rng(4)
    for _ in range(50):
        starts, ends = random.random((2, 1, 13)) ** 4
        words = [-1, -1, *sorted(random.integers(0, 7, 9).tolist()), -1, -1]
        limit = int(random.integers(1, 5))
        candidates = {(-1, -1): starts[0, 0] * ends[0, 0]}
        for i, first in enumerate(words):
            for j, last in enumerate(words):
                if min(first, last) >= 0 and i <= j and last - first + 1 <= limit:
                    pair = (first, last)
                    score = starts[0, i] * ends[0, j]
                    candidates[pair] = max(candidates.get(pair, 0), score)
        best = max(candidates, key=candidates.get)
        [span] = kt.data.best_spans({"start": starts, "end": ends}, [words], limit)
        assert (span.start, span.end) == best
        assert span.probability == pytest.approx(candidates[best])


def test_errors():
    tokenizer = word_piece()
    tagged, questions = kt.data.tagged_rows, kt.data.question_rows
    both = {"start": np.ones((1, 3)), "end": np.ones((1, 3))}
    for call, message in (
        (lambda: tagged(tokenizer, [["the"]], []), "`tags` must have as many items as `sentences`"),
        (lambda: tagged(tokenizer, [["the"]], [[1, 2]]), r"`tags\[0\]` must have as many"),
        (lambda: tagged(tokenizer, [["the", ""]]), r"`sentences\[0\]` must contain words .* ''"),
        (lambda: tagged(tokenizer, [["the"]], max_length=2), "`max_length` must be"),
        (lambda: questions(byte_level(), ["a"], [["b"]]), "`tokenizer` must have an end id"),
        (lambda: questions(tokenizer, ["a"], []), "`contexts` must have as many items"),
        (lambda: questions(tokenizer, ["a"], [["b"]], []), "`spans` must have as many items"),
        (lambda: questions(tokenizer, ["a"], [["b"]], [(0, 1)]), r"from 0 to 0. .*\(0, 1\)"),
        (lambda: questions(tokenizer, ["a"], [["b"]], max_length=4), "leave room for the context"),
        (lambda: kt.data.best_spans(both, []), "`predictions` must have arrays"),
        (lambda: kt.data.best_spans(both, [[0, 1, 2]], 0), "`max_words` must be a positive"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
