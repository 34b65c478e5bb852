"""Text to batches: subword tokenizers and batching with `keras.utils.PyDataset`."""

from keras_transformer.data.base import Tokenizer
from keras_transformer.data.batching import TranslationBatches
from keras_transformer.data.blocks import LanguageModelBatches
from keras_transformer.data.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.marian import MarianTokenizer
from keras_transformer.data.masking import MaskedLanguageModelBatches, word_starts
from keras_transformer.data.packing import PackedBatches
from keras_transformer.data.sentence_piece import SentencePieceTokenizer
from keras_transformer.data.series import previous_values, series_windows
from keras_transformer.data.special_ids import (
    END_ID,
    PADDING_ID,
    START_ID,
    UNKNOWN_ID,
    SpecialIds,
    special_ids,
)
from keras_transformer.data.storage import load_tokenizer, save_tokenizer
from keras_transformer.data.task_batches import TaskBatches
from keras_transformer.data.task_rows import choice_rows, pair_rows, similarity_rows, text_rows
from keras_transformer.data.tokenizers import decode, encode, train_tokenizer
from keras_transformer.data.windows import SlidingWindows

__all__ = [
    "END_ID",
    "PADDING_ID",
    "START_ID",
    "UNKNOWN_ID",
    "HuggingFaceTokenizer",
    "LanguageModelBatches",
    "MarianTokenizer",
    "MaskedLanguageModelBatches",
    "PackedBatches",
    "SentencePieceTokenizer",
    "SlidingWindows",
    "SpecialIds",
    "TaskBatches",
    "Tokenizer",
    "TranslationBatches",
    "choice_rows",
    "decode",
    "encode",
    "load_tokenizer",
    "pair_rows",
    "previous_values",
    "save_tokenizer",
    "series_windows",
    "similarity_rows",
    "special_ids",
    "text_rows",
    "train_tokenizer",
    "word_starts",
]
