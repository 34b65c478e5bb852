"""BLEU, chrF and other corpus scores of translations, by sacrebleu."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from keras_transformer.checks import check_as_many


def make_metrics(metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the metrics by name; None for BLEU and chrF with sacrebleu's defaults."""
    if metrics is None:
        try:
            import sacrebleu
        except ImportError as error:
            raise ImportError(
                "Scores of translations need the package `sacrebleu`, which could not be imported. "
                'Install it with `pip install "keras-transformer-layers[text]"`.'
            ) from error
        return {"bleu": sacrebleu.BLEU(), "chrf": sacrebleu.CHRF()}
    if not isinstance(metrics, Mapping) or not metrics:
        raise ValueError(
            "`metrics` must be a dict of at least one metric by its name. "
            f"Received: metrics={metrics!r}."
        )
    for name, metric in metrics.items():
        if not hasattr(metric, "corpus_score"):
            raise ValueError(
                "`metrics` must contain metrics of sacrebleu, such as sacrebleu.BLEU(). "
                f"Received: metrics[{name!r}]={metric!r}."
            )
    return dict(metrics)


def check_references(
    sources: Sequence[str], references: Sequence[str | Sequence[str]]
) -> list[list[str]]:
    """Returns the references as one list per source, checked.

    Args:
        sources: N sentences.
        references: For each, one reference or a list of several.

    Raises:
        ValueError: If their number differs from that of the sources, or a source has no reference
            or one that is not a string.
    """
    if isinstance(references, str):
        raise ValueError(
            f"`references` must be a list, not one string. Received: references={references!r}."
        )
    check_as_many(references=references, sources=sources)
    lists = [[known] if isinstance(known, str) else list(known) for known in references]
    for index, known in enumerate(lists):
        if not known or not all(isinstance(text, str) for text in known):
            raise ValueError(
                "`references` must contain at least one string per source. "
                f"Received: references[{index}]={references[index]!r}."
            )
    return lists


def corpus_scores(
    metrics: Mapping[str, Any], translations: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Returns the score of N translations by each metric, against N lists of references."""
    # sacrebleu reads the first reference of all sentences, then the second, and so on.
    columns = [list(column) for column in itertools.zip_longest(*references)]
    return {
        name: float(metric.corpus_score(list(translations), columns).score)
        for name, metric in metrics.items()
    }
