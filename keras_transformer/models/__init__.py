"""Functions that return functional Keras models."""

from keras_transformer.models.language_model import gpt, gpt1
from keras_transformer.models.translation import transformer, transformer_base, transformer_big

__all__ = ["gpt", "gpt1", "transformer", "transformer_base", "transformer_big"]
