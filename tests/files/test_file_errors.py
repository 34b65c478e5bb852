import zlib

import pytest

from keras_transformer.checks import check, shortened
from keras_transformer.files import naming_file


def raised(error, path="folder/x.bin", **options):
    with pytest.raises(ValueError) as caught:
        with naming_file(path, **options):
            raise error
    return str(caught.value)


def test_a_value_error_gets_the_name_where_it_is_missing():
    text = "`num_heads` must divide `hidden_dim`. Received: num_heads=7."
    assert raised(ValueError(text)) == f"{text} Read from folder/x.bin."
    for named in ("`folder/x.bin` must be whole.", "`x.bin` must be whole.", "See folder/y.json."):
        assert raised(ValueError(named)) == named
    for other in ("`y.json` must be whole.", "The folder must be whole."):
        assert raised(ValueError(other)) == f"{other} Read from folder/x.bin."


@pytest.mark.parametrize(
    "error",
    [TypeError("no"), zlib.error("no"), RecursionError("no"), EOFError("no"), OverflowError("no")],
)
def test_other_errors_become_a_value_error(error):
    name = type(error).__name__
    expected = f"`folder/x.bin` must be an intact file. Received: {name}: no."
    assert raised(error) == expected
    assert (
        raised(type(error)(), must="be whole") == f"`folder/x.bin` must be whole. Received: {name}."
    )


def test_a_panic_of_rust():
    panic = type("PanicException", (BaseException,), {})
    assert "Received: PanicException: index out of bounds." in raised(panic("index out of bounds"))


def test_long_messages_are_cut():
    assert 1000 < len(raised(TypeError("x" * 10**6))) < 1200
    assert 1000 < len(raised(ValueError("x" * 10**6))) < 1200


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), ImportError("x"), MemoryError(), KeyboardInterrupt()]
)
def test_what_is_passed_on(error):
    with pytest.raises(type(error)):
        with naming_file("x.bin"):
            raise error


def test_values_in_messages_are_shortened():
    assert shortened([1, "a"]) == "[1, 'a']"
    assert shortened("a" * 200) == repr("a" * 200)[:200] + "... (202 characters)"
    assert shortened("a" * 10**6) == repr("a" * 200) + "... (1000000 characters)"
    assert shortened(b"a" * 10**6, 3) == "b'aaa'... (1000000 characters)"
    assert len(shortened(list(range(10**5)))) < 250
    nested = []
    for _ in range(10**5):
        nested = [nested]
    assert shortened(nested) == "a list"
    with pytest.raises(ValueError, match="`n` must be 1. Received: n='aaa") as caught:
        check(False, "be 1", "n", "a" * 10**6)
    assert len(str(caught.value)) < 300
