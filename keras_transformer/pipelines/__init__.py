"""Text-to-text pipelines: a model and its tokenizers, saved in one folder."""

from keras_transformer.pipelines.corpus_translation import translate_corpus
from keras_transformer.pipelines.defaults import DecodingDefaults, GenerationDefaults
from keras_transformer.pipelines.text_generator import TextGenerator
from keras_transformer.pipelines.translation_file import read_translations
from keras_transformer.pipelines.translation_scoring import score_translations
from keras_transformer.pipelines.translation_search import Translation
from keras_transformer.pipelines.translator import Translator

__all__ = [
    "DecodingDefaults",
    "GenerationDefaults",
    "TextGenerator",
    "Translation",
    "Translator",
    "read_translations",
    "score_translations",
    "translate_corpus",
]
