"""Detects lines that are not sentence pairs, and reports how many there are of each kind."""

from __future__ import annotations

import re
import warnings

# Control characters other than whitespace (NUL among them), lone surrogates, and the character
# that decoders put in place of bytes that they cannot read.
_DAMAGED = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufffd]")


class BadLine(Exception):
    """A line that is not a sentence pair.

    Args:
        kind: What is wrong with the line, such as "an empty side", for a report on many lines.
        must: What a line must be, for an error about this one.
    """

    def __init__(self, kind: str, must: str) -> None:
        super().__init__(kind)
        self.kind, self.must = kind, must


def read_pair(line: str | bytes, is_first: bool, max_length: int | None) -> tuple[str, str]:
    """Reads a sentence and its translation from a tab-separated line.

    Args:
        line: The line, bytes in UTF-8 or a string.
        is_first: Whether it may start with a byte order mark.
        max_length: Maximum length of either side in characters; None for no limit.

    Returns:
        The sentence and its translation, with single spaces between words.

    Raises:
        BadLine: If the line is not a sentence pair.
    """
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
    except UnicodeDecodeError:
        raise BadLine("text that is not UTF-8", "UTF-8 text") from None
    if is_first:
        text = text.removeprefix("\ufeff")  # some editors add one
    if found := _DAMAGED.search(text):
        must = f"text without control or damaged characters, such as {found[0]!r}"
        raise BadLine("control or damaged characters", must)
    # `split` without an argument splits at every kind of space, including the U+00A0 and U+202F
    # before punctuation in French; all become one plain space.
    fields = [" ".join(field.split()) for field in text.split("\t")]
    if len(fields) < 2 or not fields[0] or not fields[1]:
        kind = "no tab" if len(fields) < 2 else "an empty side"
        raise BadLine(kind, "a sentence, a tab and its translation")
    if max_length is not None and max(map(len, fields[:2])) > max_length:
        kind = f"a side of more than {max_length} characters"
        raise BadLine(kind, f"two sentences of at most {max_length} characters")
    return fields[0], fields[1]


class BadLineReport:
    """The bad lines that a reader left out: how many of each kind, and where the first one is."""

    def __init__(self) -> None:
        self._found: dict[str, list[int]] = {}

    def add(self, number: int, problem: BadLine) -> None:
        """Adds a line by its number, from 1."""
        self._found.setdefault(problem.kind, []).append(number)

    def warn(self, num_lines: int) -> None:
        """Warns about the lines that were left out, if there are any."""
        if self._found:
            left_out = sum(map(len, self._found.values()))
            warnings.warn(
                f"{left_out} of {num_lines} lines were left out: {self}.", UserWarning, stacklevel=3
            )

    def __str__(self) -> str:
        return ", ".join(
            f"{len(numbers)} with {kind} (first in line {numbers[0]})"
            for kind, numbers in self._found.items()
        )
