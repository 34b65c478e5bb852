"""Pinned, hashed and cached files.

Corpora, each of which has a `load_data` as in `keras.datasets`, and checkpoints of real models.
"""

from keras_transformer.datasets import checkpoints, tatoeba, wikitext2

__all__ = ["checkpoints", "tatoeba", "wikitext2"]
