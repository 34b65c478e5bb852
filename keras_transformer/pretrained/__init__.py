"""Checkpoints of other libraries, in and out."""

from keras_transformer.pretrained.load import load
from keras_transformer.pretrained.save_huggingface import save_huggingface

__all__ = ["load", "save_huggingface"]
