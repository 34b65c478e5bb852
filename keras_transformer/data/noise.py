"""Noise in sentence pairs, to train translators that cope with careless writing."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from keras_transformer.checks import check, check_as_many, check_choice, check_integer, is_number
from keras_transformer.data.tokenizers.text_checks import check_texts

Noise = Callable[[str, str, np.random.Generator], tuple[str, str]]


def add_noise(
    sources: Iterable[str], targets: Iterable[str], noise: Noise | Sequence[Noise], seed: int = 0
) -> tuple[list[str], list[str]]:
    """Applies noise to sentence pairs.

    The result for a pair depends only on the pair, its index, the noise and the seed. Each seed
    gives a different version of a corpus: train on several, or on the original together with a
    noisy version, for example with `kt.data.MixedBatches`.

    Args:
        sources: N sentences.
        targets: Their N translations.
        noise: `CaseNoise`, `TypoNoise`, `CopyNoise`, any other function from `(source, target,
            generator)` to `(source, target)` that draws its random numbers from the
            `numpy.random.Generator`, or a sequence of these, applied in order.
        seed: Non-negative integer.

    Returns:
        The tuple of N sources and N targets.

    Raises:
        ValueError: If the numbers of sources and targets differ, or one of them is not a list of
            strings.

    Example:
        >>> import keras_transformer as kt
        >>> noise = [kt.data.CaseNoise(upper=1.0), kt.data.TypoNoise(probability=0.1)]
        >>> kt.data.add_noise(["A cat."], ["Un chat."], noise[:1])
        (['A CAT.'], ['UN CHAT.'])

    Reference:
        Belinkov and Bisk 2018, "Synthetic and Natural Noise Both Break Neural Machine Translation",
        section 4.
    """
    sources, targets = check_texts(sources, "sources"), check_texts(targets, "targets")
    check_as_many(targets=targets, sources=sources)
    check_integer(0, seed=seed)
    steps = [noise] if callable(noise) else list(noise)
    pairs = []
    for index, pair in enumerate(zip(sources, targets, strict=True)):
        generator = np.random.default_rng((seed, index))
        for step in steps:
            pair = step(*pair, generator)
        pairs.append(pair)
    return [source for source, _ in pairs], [target for _, target in pairs]


def check_probability(**arguments: float) -> None:
    """Checks that arguments are numbers in [0, 1]."""
    for name, value in arguments.items():
        check(is_number(value) and 0 <= value <= 1, "be in the range [0, 1]", name, value)


_FORMS = ("upper", "title", "lower", "random")


@dataclasses.dataclass(frozen=True)
class CaseNoise:
    """Changes the case of sentences.

    At most one change is applied to a pair. Text in a script without case, such as Japanese, is
    not changed.

    Args:
        upper: Probability of capital letters only, as in headlines.
        title: Probability of a capital letter at the start of each word, as in titles.
        lower: Probability of small letters only.
        random: Probability of capital and small letters at random.
        in_targets: The changes that are also applied to the target. By default, texts in capitals
            and titles keep their case in translation, while other input is translated into regular
            spelling.

    Raises:
        ValueError: If a probability or their sum is not in [0, 1], or a change is unknown.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> noise = kt.data.CaseNoise(lower=1.0)
        >>> noise("New York", "New York", np.random.default_rng(0))
        ('new york', 'New York')
    """

    upper: float = 0.0
    title: float = 0.0
    lower: float = 0.0
    random: float = 0.0
    in_targets: Sequence[str] = ("upper", "title")

    def __post_init__(self) -> None:
        shares = {form: getattr(self, form) for form in _FORMS}
        check_probability(**shares)
        if sum(shares.values()) > 1 + 1e-9:
            raise ValueError(
                "`upper`, `title`, `lower` and `random` must sum to at most 1. "
                f"Received: {', '.join(f'{form}={share}' for form, share in shares.items())}."
            )
        for form in self.in_targets:
            check_choice(_FORMS, in_targets=form)

    def __call__(self, source: str, target: str, generator: np.random.Generator) -> tuple[str, str]:
        """Returns the pair, changed or not; random numbers come from the generator."""
        left = generator.random()
        for form in _FORMS:
            left -= getattr(self, form)
            if left < 0:
                both = form in self.in_targets
                changed = _change_case(source, form, generator)
                return changed, _change_case(target, form, generator) if both else target
        return source, target


def _change_case(text: str, form: str, generator: np.random.Generator) -> str:
    if form == "upper":
        return text.upper()
    if form == "lower":
        return text.lower()
    if form == "title":
        return _title(text)
    raised = generator.random(len(text)) < 0.5
    return "".join(
        _change_letter(letter, is_raised) for letter, is_raised in zip(text, raised, strict=True)
    )


def _change_letter(letter: str, is_raised: bool) -> str:
    # The Greek iota subscript is a mark whose capital is a letter.
    if unicodedata.category(letter).startswith("M"):
        return letter
    return letter.upper() if is_raised else letter.lower()


def _title(text: str) -> str:
    """Capitalizes the first letter of each word; unlike `str.title`, "don't" has only one."""
    letters, is_inside = list(text), False
    for index, letter in enumerate(letters):
        if letter.isspace():
            is_inside = False
        elif not is_inside and letter.isalnum():
            letters[index], is_inside = letter.title(), True
    return "".join(letters)


@dataclasses.dataclass(frozen=True)
class CopyNoise:
    """Replaces sources with their targets, so that a translator learns to copy.

    A model copies names, and text that is in the target language already, more faithfully if some
    of its training pairs are copies.

    Args:
        probability: Probability that a pair becomes a copy of its target.

    Raises:
        ValueError: If the probability is not in [0, 1].

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> kt.data.CopyNoise(1.0)("A cat.", "Un chat.", np.random.default_rng(0))
        ('Un chat.', 'Un chat.')

    Reference:
        Currey, Miceli Barone and Heafield 2017, "Copied Monolingual Data Improves Low-Resource
        Neural Machine Translation", section 3.
    """

    probability: float

    def __post_init__(self) -> None:
        check_probability(probability=self.probability)

    def __call__(self, source: str, target: str, generator: np.random.Generator) -> tuple[str, str]:
        """Returns the pair, changed or not; random numbers come from the generator."""
        return (target, target) if generator.random() < self.probability else (source, target)
