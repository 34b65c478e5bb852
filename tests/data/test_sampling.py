"""Subword regularization: other pieces, the same text."""

import collections

import numpy as np
import pytest

import keras_transformer as kt
from tests.pretrained.tokenizers import TEXTS, trained

VOCABULARY = ["</s>", "<unk>", ">>fra<<", *trained().get_vocabulary()[4:], "<pad>"]


def marian():
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    return kt.data.MarianTokenizer(trained().proto, vocabulary, unknown_id=1, end_id=0)


TOKENIZERS = {
    "keras-hub": trained,
    "sentencepiece": lambda: kt.data.SentencePieceTokenizer(trained().proto),
    "bpe": lambda: trained(110, "bpe"),
    "marian": marian,
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_other_pieces_of_the_same_text(name):
    tokenizer = TOKENIZERS[name]()
    best = kt.data.encode(tokenizer, TEXTS, end=True)
    texts = kt.data.decode(tokenizer, best)
    seen = set()
    for seed in range(4):
        rows = kt.data.encode(tokenizer, TEXTS, end=True, sampling=0.2, seed=seed)
        assert rows == kt.data.encode(tokenizer, TEXTS, end=True, sampling=0.2, seed=seed)
        assert kt.data.decode(tokenizer, rows) == texts
        assert all(row[-1] == tokenizer_end(tokenizer) for row in rows)
        seen.add(tuple(map(tuple, rows)))
    assert len(seen) == 4 and tuple(map(tuple, best)) not in seen


def tokenizer_end(tokenizer):
    return kt.data.special_ids(tokenizer).end


def test_a_code_and_special_tokens_stay_whole():
    (row,) = kt.data.encode(marian(), [">>fra<< the cats</s>"], sampling=0.1)
    assert row[0] == 2 and row[-1] == 0


def test_cuts_come_as_often_as_the_model_finds_them_likely():
    """Of one short word, all cuts can be counted: p(cut) ~ exp(alpha * sum of log p(piece))."""
    import sentencepiece

    tokenizer, alpha, count = trained(), 0.5, 4000
    model = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.proto)
    rows = kt.data.encode(tokenizer, ["the sea"] * count, sampling=alpha, seed=3)
    found = collections.Counter(map(tuple, rows))
    cuts = model.nbest_encode_as_ids("the sea", 512)
    scores = np.array([sum(model.get_score(piece) for piece in cut) for cut in cuts])
    expected = np.exp(alpha * (scores - scores.max()))
    expected /= expected.sum()
    assert set(found) <= {tuple(cut) for cut in cuts} and len(found) > 5
    for cut, probability in zip(cuts, expected, strict=True):
        spread = (probability * (1 - probability) / count) ** 0.5
        assert abs(found[tuple(cut)] / count - probability) < 5 * spread + 1e-9


@pytest.mark.parametrize("sampling", [0, -0.1, 1.5, "a", True])
def test_a_rate_out_of_range(sampling):
    with pytest.raises(
        ValueError, match=r"`sampling` must be in the range \(0, 1\]. Received: sampling="
    ):
        kt.data.encode(trained(), TEXTS, sampling=sampling)


def test_another_kind_of_tokenizer():
    import keras_hub

    words = keras_hub.tokenizers.WordPieceTokenizer(["[UNK]", "a", "b"], dtype="int32")
    with pytest.raises(ValueError, match="`tokenizer` must be a SentencePiece tokenizer for"):
        kt.data.encode(words, ["a b"], sampling=0.1)
    with pytest.raises(ValueError, match="`seed` must be"):
        kt.data.encode(trained(), TEXTS, sampling=0.1, seed=-1)
