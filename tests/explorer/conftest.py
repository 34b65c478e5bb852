"""A server with a tiny language model, for the tests of a file."""

import pytest

from tests.explorer import answers_of, serving


@pytest.fixture(scope="module")
def answers():
    return answers_of("language_model")


@pytest.fixture(scope="module")
def server(answers):
    with serving(answers) as running:
        yield running
