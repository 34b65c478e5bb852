"""Looking inside a model: recordings of its tensors, and figures of them."""

from keras_transformer.visualize.trace import Trace, record

__all__ = ["Trace", "record"]
