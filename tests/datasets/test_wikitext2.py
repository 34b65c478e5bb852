"""WikiText-2 and its published numbers."""

import pytest

from keras_transformer.data import decode, encode, train_tokenizer
from keras_transformer.datasets import wikitext2


@pytest.fixture(scope="module")
def parts():
    return wikitext2.load_data()


def test_published_numbers(parts):
    assert [part.num_tokens for part in parts] == [2_088_628, 217_646, 245_569]
    assert [len(part.lines) for part in parts] == [36_718, 3_760, 4_358]
    # The published vocabulary: 33,278 words, one of which is the end of a line.
    assert len({word for word in " ".join(parts[0].lines).split()}) == 33_277


def test_lines_are_clean(parts):
    for part in parts:
        assert all(line == " ".join(line.split()) for line in part.lines)
    assert parts[0].lines[:2] == ["", "= Valkyria Chronicles III ="]


def test_wrong_number_is_reported(monkeypatch):
    monkeypatch.setitem(wikitext2._NUM_TOKENS, "valid", 5)
    with pytest.raises(RuntimeError, match="valid.txt must contain 5 tokens.*Found 217646"):
        wikitext2.load_data()


@pytest.mark.slow
def test_lossless_tokenizer_gives_back_every_line(parts):
    _, validation, test = parts
    tokenizer = train_tokenizer(validation.lines, 2000, lossless=True, symbols=("<unk>",))
    rows = encode(tokenizer, test.lines)
    assert decode(tokenizer, rows) == test.lines
    unknown = tokenizer.token_to_id("<unk>")
    words = " ".join(test.lines).split()
    assert sum(row.count(unknown) for row in rows) == words.count("<unk>") > 1000


def test_license_is_named():
    assert "CC BY-SA" in wikitext2.LICENSE and "CC BY-SA" in wikitext2.load_data.__doc__
    assert "Wikipedia" in wikitext2.ATTRIBUTION
