"""Pinned, hashed and cached corpora, with `load_data` as in `keras.datasets`, and models."""

from keras_transformer.datasets import (
    firefox_models,
    minilm,
    movie_dialog,
    movie_reviews,
    paraphrases,
    seismogram,
    smollm2,
    tatoeba,
    wikitext2,
)

__all__ = [
    "firefox_models",
    "minilm",
    "movie_dialog",
    "movie_reviews",
    "paraphrases",
    "seismogram",
    "smollm2",
    "tatoeba",
    "wikitext2",
]
