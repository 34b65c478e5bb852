"""Checkpoints of other libraries, in and out."""

from keras_transformer.pretrained.load import load
from keras_transformer.pretrained.tokenizers import load_tokenizer

__all__ = ["load", "load_tokenizer"]
