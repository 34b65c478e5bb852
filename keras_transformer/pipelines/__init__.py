"""Text-to-text pipelines: a model and its tokenizers, saved in one folder."""

from keras_transformer.pipelines.defaults import DecodingDefaults, GenerationDefaults
from keras_transformer.pipelines.text_generator import TextGenerator
from keras_transformer.pipelines.translation_search import Translation
from keras_transformer.pipelines.translator import Translator

__all__ = ["DecodingDefaults", "GenerationDefaults", "TextGenerator", "Translation", "Translator"]
