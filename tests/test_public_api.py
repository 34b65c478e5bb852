"""The public API is the recorded one: no name, argument or default changes unnoticed."""

import pytest

from tests import public_api


def test_the_public_api_is_the_recorded_one():
    recorded = public_api.PATH.read_text(encoding="utf-8")
    difference = public_api.difference(recorded, public_api.described())
    if difference:
        message = f"The public API has changed. If it should, run `{public_api.COMMAND}`."
        pytest.fail(f"{message}\n{difference}", pytrace=False)


def test_a_changed_argument_is_shown_with_its_function():
    recorded = "def kt.f(\n    first: int,\n    second: int = 2,\n)\n\ndef kt.g()\n"
    found = "def kt.f(\n    first: int,\n    second: int = 3,\n)\n\ndef kt.g()\n\ndef kt.h()\n"
    assert public_api.difference(recorded, recorded) == ""
    assert public_api.difference(recorded, found).splitlines() == [
        " def kt.f(",
        "     first: int,",
        "-    second: int = 2,",
        "+    second: int = 3,",
        " )",
        "+def kt.h()",
    ]
