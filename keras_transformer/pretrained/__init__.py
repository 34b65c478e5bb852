"""Checkpoints of other libraries, in and out."""

from keras_transformer.pretrained.load import load

__all__ = ["load"]
