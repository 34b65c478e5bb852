"""Reusable Keras layers that compose into whole Transformers."""

from keras_transformer import layers, models, ops

__all__ = ["layers", "models", "ops"]
__version__ = "0.1.0"
