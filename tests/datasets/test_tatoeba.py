"""The English-French sentence pairs."""

import hashlib
import os
import pathlib
import subprocess
import sys

import pytest

from keras_transformer.datasets import tatoeba
from keras_transformer.datasets.tatoeba import TranslationPairs

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def parts():
    return tatoeba.load_data("fra")


def fingerprint(parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@pytest.mark.slow
def test_sizes_and_no_leak(parts):
    train, validation, test = (set(part.source) for part in parts)
    assert (len(validation), len(test)) == (500, 2000)
    assert len(train) > 90_000
    assert not train & validation and not train & test and not validation & test
    assert sum(len(part.source) for part in parts) > 135_000


def test_pairs_are_distinct_clean_and_mixed(parts):
    pairs = [pair for part in parts for pair in zip(*part, strict=True)]
    assert len(set(pairs)) == len(pairs)
    for sentence in (sentence for pair in pairs for sentence in pair):
        assert sentence and sentence == " ".join(sentence.split())
    # The file is sorted by length; here every part has short and long ones.
    means = [sum(map(len, part.source)) / len(part.source) for part in parts]
    half = len(parts[0].source) // 2
    means += [sum(map(len, parts[0].source[:half])) / half]
    assert max(means) - min(means) < 2
    assert ("Run!", "Cours !") in pairs


def test_arguments(parts):
    small = tatoeba.load_data(num_validation=0, num_test=7, seed=1)
    assert small[1] == TranslationPairs([], [])
    assert len(set(small[2].source)) == 7
    assert small[2].source[:3] != parts[2].source[:3]


@pytest.mark.slow
def test_equal_in_other_processes(parts):
    code = "from tests.datasets.test_tatoeba import *;print(fingerprint(tatoeba.load_data()))"
    for hash_seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "KERAS_BACKEND": "jax"},
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip() == fingerprint(parts)


def test_references(parts):
    sources, references = tatoeba.references(parts[2])
    assert len(sources) == len(references) == len(set(sources)) == 2000
    rebuilt = [
        (source, target)
        for source, group in zip(sources, references, strict=True)
        for target in group
    ]
    assert rebuilt == list(zip(*parts[2], strict=True))
    assert max(map(len, references)) > 1


def test_references_keep_the_order():
    pairs = TranslationPairs(["b", "a", "b"], ["x", "y", "z"])
    assert tatoeba.references(pairs) == (["b", "a"], [["x", "z"], ["y"]])
    with pytest.raises(ValueError, match="as many sources as targets. Received: 1 and 0"):
        tatoeba.references(TranslationPairs(["a"], []))


def test_split_removes_duplicates():
    pairs = TranslationPairs(["a", "b", "a", "a", "c"], ["x", "y", "x", "z", "x"])
    parts = tatoeba.split_pairs(pairs, num_validation=1, num_test=1)
    found = sorted(pair for part in parts for pair in zip(*part, strict=True))
    assert found == [("a", "x"), ("a", "z"), ("b", "y"), ("c", "x")]


def test_parse_pairs(tmp_path):
    lines = ["Go.\tVa\u202f!\tCC-BY\n", " Run  now!\tCours\u00a0!\n", "x\u2028y\tz"]
    expected = TranslationPairs(["Go.", "Run now!", "x y"], ["Va !", "Cours !", "z"])
    assert tatoeba.parse_pairs(lines) == expected
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    assert tatoeba.parse_pairs(path) == tatoeba.parse_pairs(str(path)) == expected


@pytest.mark.parametrize("line", [b"no tab\n", b"\n", b"a\t \n", b"\tb\n", b"a\t\xff\n"])
def test_broken_line_is_named(tmp_path, line):
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"a\tb\nc\td\n" + line + b"e\tf\n")
    with pytest.raises(ValueError, match="Line 3 must be"):
        tatoeba.parse_pairs(path)


def test_errors():
    with pytest.raises(ValueError, match="`language` must be one of 'fra'.*language='xyz'"):
        tatoeba.load_data("xyz")
    pairs = TranslationPairs(["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match="must be less than 2, .*num_validation=1, num_test=1"):
        tatoeba.split_pairs(pairs, 1, 1)
    with pytest.raises(
        ValueError, match="`num_test` must be an integer >= 0. Received: num_test=-1"
    ):
        tatoeba.split_pairs(pairs, 0, -1)


def test_license_is_named():
    assert "CC BY 2.0" in tatoeba.LICENSE
    for site in ("tatoeba.org", "manythings.org/anki"):
        assert site in tatoeba.ATTRIBUTION and site in tatoeba.load_data.__doc__
