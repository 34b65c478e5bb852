"""Functions that return functional Keras models."""

from keras_transformer.models.bert import bert
from keras_transformer.models.language_model import gpt, gpt1
from keras_transformer.models.translation import transformer, transformer_base, transformer_big
from keras_transformer.models.vision import vit

__all__ = ["bert", "gpt", "gpt1", "transformer", "transformer_base", "transformer_big", "vit"]
