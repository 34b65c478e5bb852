import pytest

from keras_transformer.files import parse_yaml


def test_plain_values():
    text = b"type: transformer\ndim-vocabs: [23, 29]\ndropout: 0.1\nulr: false\ndate: 2023-08-24\n"
    assert parse_yaml(text, "model.bin") == {
        "type": "transformer",
        "dim-vocabs": [23, 29],
        "dropout": 0.1,
        "ulr": False,
        "date": "2023-08-24",  # a text, as in JSON
    }


BOMB = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c]\n" % (letter, letter, letter - 1, letter - 1) for letter in b"bcdefghij"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "anchors, aliases and tags are not allowed"),
        (b"a: &b 1", "anchors, aliases and tags are not allowed"),
        (b"a: *b", "anchors, aliases and tags are not allowed"),
        (b"a: !!python/object/apply:os.getcwd []", "anchors, aliases and tags are not allowed"),
        (b"a: !x 1", "anchors, aliases and tags are not allowed"),
        (b"a: 1\nb: 2\na: 3", "'a' must be a text and occur only once"),
        (b"1: 2", "1 must be a text and occur only once"),
        (b"[a, b]: 2", r"\['a', 'b'\] must be a text"),
        (b"<<: {a: 1}", "<<|merge"),
        (b"a: [", "ParserError"),
        (b"a: %s1%s" % (b"[" * 5000, b"]" * 5000), "with at most 500 lists. Received: 5000"),
        (b"a: %s1%s" % (b"[" * 499, b"]" * 499), "RecursionError|levels"),
        (b"a: %s" % (b"9" * 5000), "Exceeds the limit"),
        (b"\xf1: 1", "can't decode"),
        (b"a: \x01", "special characters are not allowed|unacceptable character"),
        (b"--- 1\n--- 2", "ComposerError"),
        (b"[1]", "must contain a YAML mapping. Received: list"),
        (b"", "must contain a YAML mapping. Received: NoneType"),
        (b"a: 1" + b" " * 2**17, "must contain YAML of at most 131072 bytes. Received: 131076"),
    ],
)
def test_what_is_refused(content, message):
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        parse_yaml(content, "model.bin")
    assert "model.bin" in str(caught.value)
