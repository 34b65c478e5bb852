import json
import math
import time

import pytest

from keras_transformer.files import parse_json, read_json


def refused(content, message, **options):
    with pytest.raises(ValueError, match=f"^`config.json` must {message}"):
        parse_json(content, "config.json", **options)


def test_plain_values(tmp_path):
    value = {"a": [1, -2.5, 1e300, None, True, "é😀"], "b": {"model_max_length": 10**30}, "": []}
    for ascii_only in (True, False):
        (tmp_path / "x.json").write_text(json.dumps(value, ensure_ascii=ascii_only), "utf-8")
        assert read_json(tmp_path / "x.json") == value
    assert parse_json(b"[7]", "x.json", list) == [7]
    assert parse_json("7", "x.json", object) == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "be a JSON file. Received: Expecting value"),
        (b"{", "be a JSON file. Received: Expecting property name"),
        (b'{"a": 1} x', "be a JSON file. Received: Extra data"),
        (b"\xf1{}", "be a JSON file. Received: .*can't decode"),
        (b"\xef\xbb\xbf{}", "be a JSON file. Received: Unexpected UTF-8 BOM"),
        ("{}".encode("utf-16"), "be a JSON file. Received: .*can't decode"),
        (b'{"a": NaN}', "be a JSON file. Received: the number NaN"),
        (b'{"a": -Infinity}', "be a JSON file. Received: the number -Infinity"),
        (b'{"a": 1e999}', "be a JSON file. Received: the number 1e999, which is too large"),
        (b'{"a": 1, "b": {"c": 2, "c": 2}}', "be a JSON file. Received: the key 'c' twice"),
        (b'{"a": "\\ud83d"}', "be a JSON file. Received: .*surrogates not allowed"),
        (b'{"\\uD83D": 1}', "be a JSON file. Received: .*surrogates not allowed"),
        (b'{"a": %s}' % (b"9" * 41), "be a JSON file. Received: an integer of 41 digits"),
        (b'{"a": %s}' % (b"9" * 10**6), "be a JSON file. Received: an integer of 1000000 digits"),
        (b"[]", "contain a JSON object. Received: list"),
        (b"7", "contain a JSON object. Received: int"),
        (b"null", "contain a JSON object. Received: NoneType"),
    ],
)
def test_what_is_refused(content, message):
    refused(content, message)


def test_the_outermost_value():
    refused(b"{}", "contain a JSON list. Received: dict", kind=list)


@pytest.mark.parametrize("depth", [101, 900, 10**5, 10**6])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
def test_nesting(depth, start, end):
    refused(start * depth + "1" + end * depth, "be a JSON file. Received: .*levels", kind=object)
    refused(start * depth, "be a JSON file. Received: ", kind=object)


def test_the_deepest_nesting():
    value = parse_json("[" * 100 + "]" * 100, "x.json", list)
    assert json.dumps(value) == "[" * 100 + "]" * 100


def test_a_surrogate_pair_is_one_letter():
    assert parse_json('["\\ud83d\\ude00"]', "x.json", list) == ["😀"]


def test_the_constants_of_keras():
    assert parse_json('{"a": Infinity}', "x.json", constants=True) == {"a": math.inf}


def test_a_repeated_key_among_many_is_found_at_once():
    pairs = ", ".join(f'"{index}": 1' for index in range(100_000))
    start = time.perf_counter()
    refused(f'{{{pairs}, "99999": 1}}', "be a JSON file. Received: the key '99999' twice")
    assert time.perf_counter() - start < 5


def test_too_large(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="x.json` must have at most 7 bytes. Received: 8 bytes"):
        read_json(tmp_path / "x.json", limit=7)
