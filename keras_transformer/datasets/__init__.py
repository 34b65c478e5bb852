"""Pinned, hashed and cached corpora; each module has a `load_data` as in `keras.datasets`."""

from keras_transformer.datasets import (
    movie_dialog,
    movie_reviews,
    paraphrases,
    tatoeba,
    wikitext2,
)

__all__ = ["movie_dialog", "movie_reviews", "paraphrases", "tatoeba", "wikitext2"]
