"""Functions that build functional Keras models."""

from keras_transformer.models.bert import bert
from keras_transformer.models.gpt_task_heads import entailment, multiple_choice, similarity
from keras_transformer.models.language_model import gpt, gpt1
from keras_transformer.models.new_tokens import with_new_tokens
from keras_transformer.models.packed import packed
from keras_transformer.models.recurrent import recurrent_seq2seq
from keras_transformer.models.sentence_encoder import sentence_encoder, sentence_pairs
from keras_transformer.models.sequence_classifier import sequence_classifier
from keras_transformer.models.series_forecaster import direct_series_forecaster, series_forecaster
from keras_transformer.models.task_heads import classifier, regressor
from keras_transformer.models.token_heads import span_extractor, token_classifier
from keras_transformer.models.translation import transformer, transformer_base, transformer_big
from keras_transformer.models.vision import vit

__all__ = [
    "bert",
    "classifier",
    "direct_series_forecaster",
    "entailment",
    "gpt",
    "gpt1",
    "multiple_choice",
    "packed",
    "recurrent_seq2seq",
    "regressor",
    "sentence_encoder",
    "sentence_pairs",
    "sequence_classifier",
    "series_forecaster",
    "similarity",
    "span_extractor",
    "token_classifier",
    "transformer",
    "transformer_base",
    "transformer_big",
    "vit",
    "with_new_tokens",
]
