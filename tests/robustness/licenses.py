"""The licenses of all installed distributions; fails on one that is not allowed.

`python -m tests.robustness.licenses` prints a table; `make audit` and the tests run the same check.
"""

import re
import sys
from importlib import metadata

OWN = "keras-transformer-layers"
# SPDX identifiers: permissive licenses, and the MPL, whose copyleft ends at the file.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "MIT",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Zlib",
}
# Names of licenses in metadata without an SPDX expression; "BSD" does not say which one.
ALIASES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# Distributions whose metadata do not name a license, with the one in their repository.
BY_NAME = {"namex": "Apache-2.0"}
# Allowed although their licenses are not, with the reason.
EXCEPTIONS = {"num2words": "LGPL: imported by one example, and by nothing in the package"}
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?(.+)")


def license_of(distribution):
    """The license of a distribution as an SPDX expression, if its metadata name one."""
    found = distribution.metadata
    if found["Name"].lower() in BY_NAME:
        return BY_NAME[found["Name"].lower()]
    if found.get("License-Expression"):
        return found["License-Expression"]
    classifiers = [_CLASSIFIER.fullmatch(text) for text in found.get_all("Classifier") or ()]
    named = [match[1] for match in classifiers if match and match[1] != "OSI Approved"]
    if not named and found.get("License"):
        named = [found["License"].splitlines()[0].strip()]
    return " AND ".join(ALIASES.get(name, name) for name in named) or "UNKNOWN"


def is_allowed(expression):
    """Whether an SPDX expression allows a use under the licenses above."""
    expression = expression.strip()
    if expression in ALLOWED:
        return True
    # The innermost parentheses first; each is replaced by a single word.
    if inner := re.search(r"\(([^()]*)\)", expression):
        word = "MIT" if is_allowed(inner[1]) else "REFUSED"
        return is_allowed(expression[: inner.start()] + word + expression[inner.end() :])
    for operator, combine in ((" OR ", any), (" AND ", all)):
        if operator in expression:
            return combine(map(is_allowed, expression.split(operator)))
    return False


def installed():
    """The license of each installed distribution, by name, except our own."""
    found = {one.metadata["Name"]: license_of(one) for one in metadata.distributions()}
    return {name: found[name] for name in sorted(found, key=str.lower) if name != OWN}


def refused(licenses):
    """Those of the distributions whose licenses are not allowed."""
    return {
        name: expression
        for name, expression in licenses.items()
        if name not in EXCEPTIONS and not is_allowed(expression)
    }


def main():
    licenses = installed()
    for name, expression in licenses.items():
        print(f"{name:32}{expression}")
    if wrong := refused(licenses):
        sys.exit(f"Not allowed by tests/robustness/licenses.py: {wrong}")


if __name__ == "__main__":
    main()
