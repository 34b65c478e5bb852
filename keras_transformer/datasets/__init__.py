"""Pinned, hashed and cached corpora; most modules have a `load_data` as in `keras.datasets`."""

from keras_transformer.datasets import firefox_models, tatoeba, wikitext2

__all__ = ["firefox_models", "tatoeba", "wikitext2"]
