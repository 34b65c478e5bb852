"""Filtering and tagging of sentence pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import (
    check,
    check_as_many,
    check_at_least,
    check_flag,
    check_positive,
    check_share,
    given,
)
from keras_transformer.data.tokenizers.interface import Tokenizer
from keras_transformer.data.tokenizers.subwords import encode
from keras_transformer.data.tokenizers.text_checks import check_texts

# The reasons to drop a pair, in the order in which they are checked.
_FILTERS = (
    "blank",
    "max_length",
    "max_length_ratio",
    "deduplicate",
    "drop_copies",
    "min_score",
    "keep",
)


def filter_pairs(
    sources: Iterable[str],
    targets: Iterable[str],
    *,
    max_length_ratio: float | None = None,
    scores: Any = None,
    min_score: float | None = None,
    keep: float | None = None,
    deduplicate: bool = True,
    drop_copies: bool = False,
    max_length: int | None = None,
    return_counts: bool = False,
) -> Any:
    """Drops sentence pairs that are probably wrong.

    Pairs with a blank side are always dropped. The order of the others is unchanged.

    Args:
        sources: N sentences.
        targets: Their N translations.
        max_length_ratio: Maximum ratio, at least 1, of the longer side's length in characters to
            the shorter side's. Translations that repeat themselves or lack a clause exceed it. None
            for no limit.
        scores: N numbers, larger for better pairs, for example from `kt.score_translations`.
        min_score: Minimum score of a pair.
        keep: Share to keep, in (0, 1], of the pairs that pass all other filters: those with the
            best scores. Among equal scores, the first are kept.
        deduplicate: Whether to keep only the first of several equal pairs.
        drop_copies: Whether to drop pairs whose sides are equal.
        max_length: Maximum number of characters of either side; None for no limit.
        return_counts: Whether to also return how many pairs were dropped.

    Returns:
        The tuple of the sources and the targets that remain; with `return_counts`, also a dict with
        the number of pairs that each filter dropped, by its name, and those with a blank side as
        "blank". A pair counts only for the first filter that drops it, in the order of the dict.

    Raises:
        ValueError: If the numbers of sources, targets and scores differ, a side is not a list of
            strings, a number is out of range, a score is not finite, or `min_score` or `keep` is
            given without scores.

    Example:
        >>> import keras_transformer as kt
        >>> sources, targets = ["Hi.", "A cat.", "A cat."], ["Oh oh oh oh.", "Un chat.", "Un chat."]
        >>> kt.data.filter_pairs(sources, targets, max_length_ratio=2.0)
        (['A cat.'], ['Un chat.'])

    Reference:
        Koehn et al. 2018, "Findings of the WMT 2018 Shared Task on Parallel Corpus Filtering",
        section 5.
    """
    sources, targets = check_texts(sources, "sources"), check_texts(targets, "targets")
    check_as_many(targets=targets, sources=sources)
    check_at_least(1, **given(max_length_ratio=max_length_ratio))
    check_share(**given(keep=keep))
    check_positive(**given(max_length=max_length))
    check_flag(return_counts=return_counts)
    values = _check_scores(scores, sources, min_score, keep)
    kept: list[int] = []
    seen: set[tuple[str, str]] = set()
    counts = dict.fromkeys(_FILTERS, 0)
    for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
        shorter, longer = sorted((len(source), len(target)))
        fails = (
            not source.strip() or not target.strip(),
            max_length is not None and longer > max_length,
            max_length_ratio is not None and longer > max_length_ratio * shorter,
            deduplicate and (source, target) in seen,
            drop_copies and source.strip() == target.strip(),
            min_score is not None and values[index] < min_score,
        )
        if any(fails):
            counts[_FILTERS[fails.index(True)]] += 1
        else:
            kept.append(index)
            seen.add((source, target))
    if keep is not None:
        best = np.argsort(-values[kept], kind="stable")[: round(keep * len(kept))]
        counts["keep"] = len(kept) - len(best)
        kept = [kept[place] for place in sorted(best.tolist())]
    left = [sources[index] for index in kept], [targets[index] for index in kept]
    return (*left, counts) if return_counts else left


def _check_scores(
    scores: Any, sources: Sequence[str], min_score: float | None, keep: float | None
) -> np.ndarray:
    """Returns the scores as an array, or zeros if there are none."""
    if scores is None:
        for name, value in given(min_score=min_score, keep=keep).items():
            check(False, "be None without `scores`", name, value)
        return np.zeros(len(sources))
    values = np.asarray(scores, "float64")
    check_as_many(scores=values.reshape(-1), sources=sources)
    if not np.isfinite(values).all():
        index = int(np.argmin(np.isfinite(values)))
        raise ValueError(
            f"`scores` must be finite. Received: scores[{index}]={values.reshape(-1)[index]}."
        )
    return values.reshape(-1)


def add_tag(tokenizer: Tokenizer, texts: Iterable[str], tag: str = "<BT>") -> list[str]:
    """Puts a tag in front of texts, to tell a model where they come from.

    With tagged sources, a translator can learn from back-translated pairs without mistaking their
    sources for human writing: it translates untagged sources as in the untagged pairs. Apply any
    noise before the tag.

    Args:
        tokenizer: The source tokenizer, for which the tag must be a single token. Train it with
            `kt.data.train_tokenizer(..., symbols=[tag])`.
        texts: N sentences.
        tag: The tag.

    Returns:
        List of the N texts, each preceded by the tag and a space.

    Raises:
        ValueError: If the tokenizer does not encode the tag as a single token, or `texts` is not a
            list of strings.

    Example:
        >>> import keras_transformer as kt
        >>> texts = ["the cat sat on the mat", "the dog sat on the log"]
        >>> tokenizer = kt.data.train_tokenizer(texts, 24, model_type="bpe", symbols=["<BT>"])
        >>> kt.data.add_tag(tokenizer, ["the cat"])
        ['<BT> the cat']

    Reference:
        Caswell, Chelba and Grangier 2019, "Tagged Back-Translation", section 3.
    """
    texts = check_texts(texts)
    (row,) = encode(tokenizer, [f"{tag} a"])
    check(
        tag in [tokenizer.id_to_token(token_id) for token_id in row],
        "be a token of `tokenizer`, see the argument `symbols` of `train_tokenizer`",
        "tag",
        tag,
    )
    return [f"{tag} {text}" for text in texts]
