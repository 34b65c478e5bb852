"""Splitting of texts into sentences, and of long sentences into clauses."""

from __future__ import annotations

import re
from collections.abc import Callable

from keras_transformer.data.tokenizers.text_packages import import_text_package

# Where a long sentence may be cut, from the best place to the worst.
_CUTS = (
    re.compile(r"(?<=[;:])\s+|(?<=[；：؛])\s*"),
    re.compile(r"(?<=,)\s+|(?<=[，、،])\s*"),
    re.compile(r"\s+"),
)
# The ISO 639-1 codes that the sentence splitter knows, for the ISO 639-3 codes of NLLB.
_TWO_LETTERS = dict(
    pair.split(":")
    for pair in """
    afr:af als:sq amh:am arb:ar asm:as azj:az bel:be ben:bn bul:bg cat:ca ces:cs cym:cy dan:da
    deu:de ell:el eng:en epo:eo est:et eus:eu fin:fi fra:fr gle:ga glg:gl guj:gu heb:he hin:hi
    hrv:hr hun:hu hye:hy ind:id isl:is ita:it jpn:ja kan:kn kat:ka kaz:kk khk:mn khm:km kor:ko
    kir:ky lao:lo lit:lt ltz:lb lvs:lv mal:ml mar:mr mkd:mk mlt:mt mya:my nld:nl nno:nn nob:nb
    npi:ne ory:or pan:pa pbt:ps pes:fa pol:pl por:pt prs:fa ron:ro rus:ru sin:si slk:sk slv:sl
    snd:sd som:so spa:es srp:sr swe:sv swh:sw tam:ta tel:te tgk:tg tgl:tl tha:th tur:tr ukr:uk
    urd:ur uzn:uz vie:vi zho:zh zsm:ms
    """.split()
)


def split_sentences(text: str, language: str | None = None) -> list[str]:
    """Splits a text into sentences.

    Args:
        text: A text without line breaks.
        language: The language's code in ISO 639-1, or as in NLLB or M2M100; None, or a language
            without rules, for those of English.

    Returns:
        The sentences, each with the whitespace that follows it; joined, they equal the text.

    Raises:
        ImportError: If the `text` extra is not installed.
    """
    code = (language or "en").partition("_")[0]
    segment = import_text_package("sentencex").segment
    return [one for one in segment(_TWO_LETTERS.get(code, code), text) if one]


def split_to_fit(sentence: str, fits: Callable[[str], bool]) -> list[str] | None:
    """Splits a sentence into parts that fit, at its clauses if possible, otherwise at spaces.

    Args:
        sentence: A sentence.
        fits: Returns whether a part is short enough.

    Returns:
        The parts, as long as possible, each with the whitespace that follows it; None if a word
        does not fit.
    """
    return _split(sentence, fits, 0)


def _split(text: str, fits: Callable[[str], bool], level: int) -> list[str] | None:
    if fits(text.strip()):
        return [text]
    if level == len(_CUTS):
        return None
    ends = [match.end() for match in _CUTS[level].finditer(text)]
    parts: list[str] = []
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        part = text[start:end]
        if parts and fits((parts[-1] + part).strip()):
            parts[-1] += part
            continue
        smaller = _split(part, fits, level + 1)
        if smaller is None:
            return None
        parts += smaller
    return parts
