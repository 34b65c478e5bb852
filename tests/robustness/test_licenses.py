"""All dependencies have allowed licenses, and the check would notice one that does not."""

import email

import pytest

from tests.robustness.licenses import installed, is_allowed, license_of, refused


class Distribution:
    """A distribution with this metadata."""

    def __init__(self, text):
        self.metadata = email.message_from_string(text)


METADATA = {
    "License-Expression: MIT AND Zlib\nClassifier: License :: OSI Approved :: BSD License": (
        "MIT AND Zlib"
    ),
    "Classifier: Topic :: Text\nClassifier: License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License: Apache License 2.0\nClassifier: License :: OSI Approved": "Apache-2.0",
    "License: GPL\n for everyone": "GPL",
    "Classifier: License :: OSI Approved :: MIT License\n"
    "Classifier: License :: OSI Approved :: GNU General Public License (GPL)": (
        "MIT AND GNU General Public License (GPL)"
    ),
    "Summary: none": "UNKNOWN",
}


@pytest.mark.parametrize(("text", "expected"), METADATA.items())
def test_where_the_license_is_read(text, expected):
    assert license_of(Distribution(f"Name: some\n{text}\n\n")) == expected


EXPRESSIONS = {
    "MIT": True,
    "UNKNOWN": False,
    "GPL-3.0-only": False,
    "MIT AND GPL-3.0-only": False,
    "MIT OR GPL-3.0-only": True,
    "GPL-3.0-only OR MIT AND Zlib": True,
    "MIT AND (GPL-3.0-only OR (Zlib AND ISC))": True,
    "(MIT OR ISC) AND (GPL-3.0-only)": False,
    "Apache-2.0 WITH LLVM-exception AND MIT": True,
    "Apache-2.0 WITH something": False,
    "MIT AND GNU General Public License (GPL)": False,
}


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS.items())
def test_what_is_allowed(expression, expected):
    assert is_allowed(expression) == expected


def test_all_installed_distributions():
    licenses = installed()
    assert {"keras", "numpy", "h5py", "pytest"} <= set(licenses)
    assert not refused(licenses)
    assert refused({**licenses, "new": "AGPL-3.0-only"}) == {"new": "AGPL-3.0-only"}
