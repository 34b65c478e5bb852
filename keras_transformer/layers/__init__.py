"""Keras layers, each of which also works in your own models."""

from keras_transformer.layers.activations import gelu_approximate
from keras_transformer.layers.attention import MultiHeadAttention
from keras_transformer.layers.class_token import ClassToken
from keras_transformer.layers.convolutional import ConvolutionalEncoder
from keras_transformer.layers.decoder import TransformerDecoder
from keras_transformer.layers.decoder_block import DecoderBlock
from keras_transformer.layers.embedding import TokenEmbedding
from keras_transformer.layers.encoder import TransformerEncoder
from keras_transformer.layers.encoder_block import TransformerEncoderBlock
from keras_transformer.layers.feed_forward import FeedForward
from keras_transformer.layers.pooling import SequencePooling
from keras_transformer.layers.positional import LearnedPositionalEmbedding, PositionalEncoding
from keras_transformer.layers.recurrent_attention import BahdanauAttention, LuongAttention
from keras_transformer.layers.recurrent_decoder import RecurrentDecoder
from keras_transformer.layers.recurrent_encoder import RecurrentEncoder
from keras_transformer.layers.relative_positions import (
    LinearPositionBias,
    RelativePositionBias,
    RelativePositionKeys,
)
from keras_transformer.layers.rotary import RotaryEmbedding
from keras_transformer.layers.self_attention import MultiHeadSelfAttention
from keras_transformer.layers.ssru import SSRU

__all__ = [
    "SSRU",
    "BahdanauAttention",
    "ClassToken",
    "ConvolutionalEncoder",
    "DecoderBlock",
    "FeedForward",
    "LearnedPositionalEmbedding",
    "LinearPositionBias",
    "LuongAttention",
    "MultiHeadAttention",
    "MultiHeadSelfAttention",
    "PositionalEncoding",
    "RecurrentDecoder",
    "RecurrentEncoder",
    "RelativePositionBias",
    "RelativePositionKeys",
    "RotaryEmbedding",
    "SequencePooling",
    "TokenEmbedding",
    "TransformerDecoder",
    "TransformerEncoder",
    "TransformerEncoderBlock",
    "gelu_approximate",
]
