"""A corpus as it should not be: what a reader leaves out, it counts."""

import warnings

import pytest

from keras_transformer.datasets.tatoeba import TranslationPairs, parse_pairs

GOOD = [
    "Go.\tVa !",
    "Go.\tVa !",  # a duplicate, which is no bad line
    "שלום\tمرحبا",
    "e\u0301\tn\u0303",
    "family\t\U0001f468\u200d\U0001f469\u200d\U0001f467",
]
BAD = {
    b"caf\xe9\tcoffee": "text that is not UTF-8",
    b"caf\xe9s\tcoffees": "text that is not UTF-8",
    b"a\x00b\tc": "control or damaged characters",
    "caf\ufffd\tcoffee".encode(): "control or damaged characters",
    b"no tab": "no tab",
    b"": "no tab",
    b"a\t \t": "an empty side",
    b"\tb": "an empty side",
    b"x" * 1_000_000 + b"\ty": "a side of more than 500 characters",
}


@pytest.fixture
def path(tmp_path):
    lines = [line.encode() for line in GOOD]
    for place, line in zip(range(0, 100, 2), BAD, strict=False):
        lines.insert(place, line)
    path = tmp_path / "corpus.tsv"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_bad_lines_are_counted_and_the_others_read(path):
    with pytest.warns(UserWarning) as caught:
        pairs = parse_pairs(path, skip_bad_lines=True, max_length=500)
    assert list(zip(*pairs, strict=True)) == [tuple(line.split("\t")) for line in GOOD]
    (warning,) = caught
    assert warning.filename == __file__  # the caller's
    report = str(warning.message)
    assert report.startswith(f"{len(BAD)} of {len(BAD) + len(GOOD)} lines were left out: ")
    for kind in set(BAD.values()):
        assert f"{list(BAD.values()).count(kind)} with {kind} (first in line " in report
    assert "2 with text that is not UTF-8 (first in line 1)" in report


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"caf\xe9\tcoffee", "Line 2 must be UTF-8 text. Received: b'caf"),
        (b"a\x00b\tc", r"Line 2 must be text without control or damaged characters.*'\\x00'"),
        (b"caf\xef\xbf\xbd\tx", "Line 2 must be text without control or damaged characters"),
        (b"no tab", "Line 2 must be a sentence, a tab and its translation. Received: b'no tab"),
        (b"x" * 501 + b"\ty", "Line 2 must be two sentences of at most 500 characters"),
    ],
)
def test_by_default_the_first_bad_line_is_an_error(tmp_path, line, message):
    path = tmp_path / "corpus.tsv"
    path.write_bytes(b"a\tb\n" + line + b"\nno tab either\n")
    with pytest.raises(ValueError, match=message) as caught:
        parse_pairs(path, max_length=500)
    assert len(str(caught.value)) < 300


def test_strings_with_lone_surrogates():
    lines = ["a\tb", "caf\udce9\tc"]  # as `open(..., errors="surrogateescape")` reads them
    message = "Line 2 must be text without control or damaged characters"
    with pytest.raises(ValueError, match=message):
        parse_pairs(lines)
    with pytest.warns(UserWarning, match="1 of 2 lines were left out: 1 with control"):
        assert parse_pairs(lines, skip_bad_lines=True).source == ["a"]


def test_another_encoding_leaves_nothing(tmp_path):
    path = tmp_path / "corpus.tsv"
    path.write_bytes("Go.\tVa !\nRun!\tCours !\n".encode("utf-16"))
    message = "`lines` must contain a sentence, a tab and its translation. Received: .* in line 1"
    with pytest.raises(ValueError, match=message):
        parse_pairs(path, skip_bad_lines=True)


def test_a_clean_corpus_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(parse_pairs(GOOD, skip_bad_lines=True).source) == len(GOOD)
        assert parse_pairs([], skip_bad_lines=True) == TranslationPairs([], [])


def test_messages():
    with pytest.raises(ValueError, match="`max_length` must be a positive integer"):
        parse_pairs(GOOD, max_length=0)
    with pytest.raises(ValueError, match="`skip_bad_lines` must be True or False"):
        parse_pairs(GOOD, skip_bad_lines="yes")
