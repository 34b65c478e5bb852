"""Loading and saving checkpoints of other libraries."""

from keras_transformer.pretrained.load import load
from keras_transformer.pretrained.save_ctranslate2 import save_ctranslate2
from keras_transformer.pretrained.save_huggingface import save_huggingface
from keras_transformer.pretrained.tokenizers.load_tokenizer import load_tokenizer

__all__ = ["load", "load_tokenizer", "save_ctranslate2", "save_huggingface"]
