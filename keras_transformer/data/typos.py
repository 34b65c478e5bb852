"""Typing errors in the sources of sentence pairs."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

from keras_transformer.checks import check, check_choice
from keras_transformer.data.noise import check_probability

_KINDS = ("swap", "drop", "double", "key")
_KEYBOARDS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiop", "asdfghjkl", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
}
# How far the rows of a keyboard are shifted to the right, in widths of a key.
_ROW_STARTS = (0.0, 0.25, 0.75)
_JOINERS = "\u200c\u200d"


@dataclasses.dataclass(frozen=True)
class TypoNoise:
    """Adds typing errors to sources: swapped, missing, double and neighboring letters.

    Only words of two or more letters are changed, and none is lost. A letter and its combining
    marks stay together, as do the parts of a decomposed Hangul syllable. Digits, punctuation and
    emoji are never changed, nor are targets.

    Args:
        probability: Probability that a source gets typos.
        rate: Expected share of the letters of such a source that are mistyped; at least one is.
        kinds: The kinds of typos, equally likely where they are possible: "swap" exchanges a letter
            with the next one of its word, "drop" omits it, "double" repeats it, and "key" replaces
            it with a letter next to it on the keyboard.
        keyboard: "qwerty", "qwertz" or "azerty".

    Raises:
        ValueError: If a number is not in [0, 1], or a kind or the keyboard is unknown.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> noise = kt.data.TypoNoise(probability=1.0, kinds=["double"])
        >>> source, target = noise("cat", "chat", np.random.default_rng(0))
        >>> source in ("ccat", "caat", "catt"), target
        (True, 'chat')

    Reference:
        Belinkov and Bisk 2018, "Synthetic and Natural Noise Both Break Neural Machine Translation",
        section 4.2.
    """

    probability: float = 0.1
    rate: float = 0.05
    kinds: Sequence[str] = _KINDS
    keyboard: str = "qwerty"

    def __post_init__(self) -> None:
        check_probability(probability=self.probability, rate=self.rate)
        check(bool(self.kinds), "contain at least one kind", "kinds", self.kinds)
        for kind in self.kinds:
            check_choice(_KINDS, kinds=kind)
        check_choice(_KEYBOARDS, keyboard=self.keyboard)

    def __call__(self, source: str, target: str, generator: np.random.Generator) -> tuple[str, str]:
        """Returns the pair, changed or not; random numbers come from the generator."""
        if generator.random() >= self.probability:
            return source, target
        cells = split_letters(source)
        places = [place for place in _in_words(cells) if self._possible(cells, place, set())]
        if not places:
            return source, target
        count = max(1, int(generator.binomial(len(places), self.rate)))
        done: set[int] = set()
        for place in sorted(generator.choice(places, count, replace=False).tolist()):
            kinds = self._possible(cells, place, done)
            if kinds:
                kind = kinds[int(generator.integers(len(kinds)))]
                self._mistype(cells, place, kind, done, generator)
        return "".join(cells), target

    def _possible(self, cells: list[str], place: int, done: set[int]) -> list[str]:
        """Returns the kinds of typos possible for a letter; those in `done` must not be changed."""
        if place in done:
            return []
        following = cells[place + 1] if place + 1 < len(cells) else ""
        possible = {
            "swap": _is_letter(following) and following != cells[place] and place + 1 not in done,
            "drop": True,
            "double": True,
            "key": bool(neighbors(self.keyboard).get(cells[place].lower())),
        }
        return [kind for kind in self.kinds if possible[kind]]

    def _mistype(self, cells, place, kind, done, generator):
        letter = cells[place]
        done.add(place)
        if kind == "swap":
            cells[place : place + 2] = [cells[place + 1], letter]
            done.add(place + 1)
        elif kind == "drop":
            cells[place] = ""
            # Adjacent letters are never both dropped, so that part of each word remains.
            done.update((place - 1, place + 1))
        elif kind == "double":
            cells[place] = 2 * letter
        else:
            keys = neighbors(self.keyboard)[letter.lower()]
            key = keys[int(generator.integers(len(keys)))]
            cells[place] = key.upper() if letter.isupper() else key


@cache
def neighbors(keyboard: str) -> dict[str, str]:
    """Returns the letters next to each letter of a keyboard, in its own and the adjacent rows."""
    places = {
        letter: (start + column, row)
        for row, (start, letters) in enumerate(zip(_ROW_STARTS, _KEYBOARDS[keyboard], strict=True))
        for column, letter in enumerate(letters)
    }

    def touch(one, other):
        (x, y), (x_other, y_other) = places[one], places[other]
        return one != other and abs(y - y_other) <= 1 and abs(x - x_other) <= 1

    return {one: "".join(other for other in places if touch(one, other)) for one in places}


def split_letters(text: str) -> list[str]:
    """Splits a text into characters, each with its combining marks and joiners."""
    cells: list[str] = []
    for character in text:
        if cells and (_continues(character) or cells[-1].endswith("\u200d")):
            cells[-1] += character
        else:
            cells.append(character)
    return cells


def _continues(character: str) -> bool:
    # Vowels and final consonants of decomposed Hangul are letters, but not syllables.
    is_jamo = "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7fb"
    return is_jamo or character in _JOINERS or unicodedata.category(character).startswith("M")


def _is_letter(cell: str) -> bool:
    return bool(cell) and unicodedata.category(cell[0]).startswith("L")


def _in_words(cells: list[str]) -> list[int]:
    """Returns the places of letters that have another letter next to them."""
    letters = [False, *map(_is_letter, cells), False]
    return [
        place
        for place in range(len(cells))
        if letters[place + 1] and (letters[place] or letters[place + 2])
    ]
