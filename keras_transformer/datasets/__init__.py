"""Pinned, hashed and cached corpora; each module has a `load_data` as in `keras.datasets`."""

from keras_transformer.datasets import tatoeba, wikitext2

__all__ = ["tatoeba", "wikitext2"]
