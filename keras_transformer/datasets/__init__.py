"""Pinned, hashed and cached: corpora, with a `load_data` as in `keras.datasets`, and models."""

from keras_transformer.datasets import firefox_models, minilm, tatoeba, wikitext2

__all__ = ["firefox_models", "minilm", "tatoeba", "wikitext2"]
