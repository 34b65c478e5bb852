"""Text to batches: subword tokenizers and batching with `keras.utils.PyDataset`."""

from keras_transformer.data.batches.chat_rows import chat_rows
from keras_transformer.data.batches.masked_batches import MaskedLanguageModelBatches, word_starts
from keras_transformer.data.batches.mixed_batches import MixedBatches
from keras_transformer.data.batches.packed_batches import PackedBatches
from keras_transformer.data.batches.question_rows import best_spans, question_rows
from keras_transformer.data.batches.task_batches import TaskBatches
from keras_transformer.data.batches.task_rows import (
    choice_rows,
    pair_rows,
    similarity_rows,
    text_rows,
)
from keras_transformer.data.batches.text_blocks import LanguageModelBatches
from keras_transformer.data.batches.text_windows import SlidingWindows
from keras_transformer.data.batches.translation_batches import TranslationBatches
from keras_transformer.data.batches.word_rows import tagged_rows
from keras_transformer.data.chat import encode_chat, render_chat
from keras_transformer.data.noise import CaseNoise, CopyNoise, add_noise
from keras_transformer.data.pair_filters import add_tag, filter_pairs
from keras_transformer.data.series_windows import previous_values, series_windows
from keras_transformer.data.tokenizers.hugging_face import HuggingFaceTokenizer
from keras_transformer.data.tokenizers.interface import Tokenizer
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.new_tokens import with_new_tokens
from keras_transformer.data.tokenizers.sentence_piece import SentencePieceTokenizer
from keras_transformer.data.tokenizers.special_ids import (
    END_ID,
    PADDING_ID,
    START_ID,
    UNKNOWN_ID,
    SpecialIds,
    special_ids,
)
from keras_transformer.data.tokenizers.subwords import decode, encode
from keras_transformer.data.tokenizers.tokenizer_folder import load_tokenizer, save_tokenizer
from keras_transformer.data.tokenizers.tokenizer_training import train_tokenizer
from keras_transformer.data.typos import TypoNoise

__all__ = [
    "END_ID",
    "PADDING_ID",
    "START_ID",
    "UNKNOWN_ID",
    "CaseNoise",
    "CopyNoise",
    "HuggingFaceTokenizer",
    "LanguageModelBatches",
    "MarianTokenizer",
    "MaskedLanguageModelBatches",
    "MixedBatches",
    "PackedBatches",
    "SentencePieceTokenizer",
    "SlidingWindows",
    "SpecialIds",
    "TaskBatches",
    "Tokenizer",
    "TranslationBatches",
    "TypoNoise",
    "add_noise",
    "add_tag",
    "best_spans",
    "chat_rows",
    "choice_rows",
    "decode",
    "encode",
    "encode_chat",
    "filter_pairs",
    "load_tokenizer",
    "pair_rows",
    "previous_values",
    "question_rows",
    "render_chat",
    "save_tokenizer",
    "series_windows",
    "similarity_rows",
    "special_ids",
    "tagged_rows",
    "text_rows",
    "train_tokenizer",
    "with_new_tokens",
    "word_starts",
]
