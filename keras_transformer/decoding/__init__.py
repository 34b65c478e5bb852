"""From logits to tokens."""

from keras_transformer.decoding.generate import generate
from keras_transformer.decoding.logits import ban_ids
from keras_transformer.decoding.protocol import DecodingModel
from keras_transformer.decoding.samplers import get_sampler, greedy

__all__ = ["DecodingModel", "ban_ids", "generate", "get_sampler", "greedy"]
