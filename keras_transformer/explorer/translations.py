"""Translation by beam search, with every candidate of the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.explorer.fields import Fields
from keras_transformer.explorer.model_description import MAX_BEAMS
from keras_transformer.explorer.opened_model import OpenedModel
from keras_transformer.explorer.recorded_run import (
    Ablate,
    RecordedRun,
    run_translation,
    source_ids,
    without_end,
)
from keras_transformer.visualize.beam_trees import tree_of
from keras_transformer.visualize.trace import record


def translate(opened: OpenedModel, fields: Fields) -> tuple[dict[str, Any], RecordedRun]:
    """Translates a text and records the best translation.

    Args:
        opened: A translator.
        fields: The request: `text`, `num_beams`, `length_penalty` and `ablate`.

    Returns:
        The answer, without the run, and the run.

    Raises:
        ValueError: If the model is not a translator or a field is out of range.
    """
    if opened.kind != "translator":
        raise ValueError("`translate` needs a translator.")
    text, ablate = fields.text(), fields.ablate()
    beams = fields.integer("num_beams", 1, min(MAX_BEAMS, opened.vocabulary_size), 4)
    penalty = fields.number("length_penalty", 0, 2)
    if penalty is None:
        penalty = opened.pipeline.defaults.length_penalty
    source = source_ids(opened, text)
    tree = _tree(opened, text, source, beams, penalty, ablate)
    best = tree["hypotheses"][0]
    unablated = None
    if ablate:
        with record(opened.model, ()):  # eagerly: compiling takes longer than a search
            options = _options(opened, source, beams, penalty)
            unablated = opened.pipeline.translate(text, **options)[0].text
    end_id: Any = special_ids(opened.target_tokenizer).end
    run = run_translation(opened, source, without_end(best["ids"], end_id), ablate)
    answer = {"translation": best["text"], "unablated": unablated, "tree": tree}
    return {"text": text, **answer}, run


def _options(opened, source, beams, penalty):
    """The options of the search, which must fit the decoder's positions."""
    usual, positions = opened.pipeline.defaults.limits([len(source)])[0], opened.limit("decoder")
    return {
        "num_beams": beams,
        "num_return": 1,  # beam search even with one beam
        "length_penalty": penalty,
        "max_new_tokens": usual if positions is None else min(usual, positions),
    }


def _tree(opened, text, source, beams, penalty, ablate: Ablate) -> dict[str, Any]:
    options = _options(opened, source, beams, penalty)
    with record(opened.model, "beam_search/*", ablate=ablate) as trace:
        opened.pipeline.translate(text, **options)
    tree = tree_of(
        trace,
        source=opened.texts["encoder"](source),
        tokenizer=opened.target_tokenizer,
        num_beams=beams,
        length_penalty=penalty,
        length_normalization=opened.pipeline.defaults.length_normalization,
        end_id=special_ids(opened.target_tokenizer).end,
        max_length=options["max_new_tokens"],
    )
    texts = opened.texts["decoder"]
    for candidate in _candidates(tree["steps"]):
        candidate["token"] = texts([candidate["id"]])[0]
    for hypothesis in tree["hypotheses"]:
        hypothesis["tokens"] = texts(hypothesis["ids"])
    return tree


def _candidates(steps: Sequence[Sequence[dict]]):
    return (candidate for step in steps for candidate in step)
