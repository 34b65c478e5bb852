"""Tokenizers in a TensorFlow graph, with the same ids and texts as their Python versions.

Shape letters: B texts, P parts of all texts, T token ids per text.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from keras_transformer.data.tokenizers.interface import SPACED_ENDINGS, SPACED_MARKS
from keras_transformer.data.tokenizers.marian_tokenizer import MarianTokenizer
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.pipelines.languages import is_multilingual
from keras_transformer.pretrained.tokenizers.export_parts import sentencepiece_of

# A language code at the beginning of a text, as split off by `MarianTokenizer`.
_CODE = r"(?s)^(>>.*?<<)"
# Two Unicode noncharacters, which do not occur in text.
_CUT = "\U0010fffe\U0010ffff"


def check_graph_tokenizer(tokenizer: Any) -> None:
    """Raises a ValueError unless a tokenizer can be part of a graph."""
    if is_multilingual(tokenizer):
        raise ValueError(
            "`tokenizer` must have no languages: a multilingual translator cannot be exported. "
            f"Received: {len(tokenizer.languages)} languages."
        )
    if not isinstance(tokenizer, MarianTokenizer):
        sentencepiece_of(tokenizer)


def make_graph_tokenizer(tokenizer: Any) -> Any:
    """Creates a module with `tokenize`, from strings (B,) to ragged ids (B, T), and `detokenize`.

    Args:
        tokenizer: A SentencePiece tokenizer with its original ids, or a `kt.data.MarianTokenizer`.

    Returns:
        A TensorFlow module.
    """
    import tensorflow as tf

    if not isinstance(tokenizer, MarianTokenizer):
        return _sentence_piece(tokenizer.proto, tf.int32)
    return _make_marian(tokenizer)


def _sentence_piece(proto, out_type):
    # TensorFlow stores the model under the name of its node and shares it with any other node of
    # that name in the process.
    name = f"sentencepiece_{hashlib.sha256(proto).hexdigest()[:32]}_{out_type.name}"
    tensorflow_text = import_text_package("tensorflow_text")
    return tensorflow_text.SentencepieceTokenizer(proto, out_type=out_type, name=name)


def _make_marian(tokenizer):
    import tensorflow as tf

    class GraphMarian(tf.Module):
        """`MarianTokenizer` in TensorFlow operations."""

        def __init__(self):
            super().__init__()
            self.pieces = _sentence_piece(tokenizer.proto, tf.string)
            size = tokenizer.vocabulary_size()
            tokens = [tokenizer.id_to_token(token_id) for token_id in range(size)]
            known = [(token, token_id) for token_id, token in enumerate(tokens) if token]
            entries = tf.lookup.KeyValueTensorInitializer(
                *map(list, zip(*known, strict=True)), tf.string, tf.int32
            )
            self.ids = tf.lookup.StaticHashTable(entries, tokenizer.unknown_id)
            hidden = {*tokenizer.special_tokens}
            hidden |= {tokens[i] for i in _special_ids(tokenizer) if i < size}
            # The last entry is the text of all ids without a token.
            shown = ["" if token in hidden else token for token in tokens]
            self.texts = tf.constant([*shown, ""])

        def tokenize(self, texts):
            parts = _split_special(texts, tokenizer.special_tokens)
            flat = parts.flat_values  # (P,)
            code = tf.where(
                tf.strings.regex_full_match(flat, f"{_CODE}.*"),
                tf.strings.regex_replace(flat, f"{_CODE}.*", r"\1"),
                "",
            )
            rest = tf.strings.regex_replace(flat, _CODE, "")
            is_special = _is_one_of(flat, tokenizer.special_tokens)
            whole = tf.where(is_special, flat, code)
            head = tf.RaggedTensor.from_row_lengths(
                tf.boolean_mask(whole, whole != ""), tf.cast(whole != "", tf.int64)
            )
            pieces = self.pieces.tokenize(tf.where(is_special, "", rest))
            tokens = parts.with_flat_values(tf.concat([head, pieces], axis=1)).merge_dims(1, 2)
            return tf.ragged.map_flat_values(self.ids.lookup, tokens)

        def _text_of(self, ids):
            last = tf.size(self.texts) - 1
            return tf.gather(self.texts, tf.where((ids < 0) | (ids > last), last, ids))

        def detokenize(self, rows):
            tokens = tf.ragged.map_flat_values(self._text_of, rows)
            tokens = tf.ragged.boolean_mask(tokens, tokens != "")
            # Tokens that are not pieces are returned unchanged, including their space marks.
            text = tf.strings.regex_replace(self.pieces.detokenize(tokens), "\u2581", " ")
            text = tf.strings.strip(text)
            return _clean_spaces(text) if tokenizer.clean_up_spaces else text

    return GraphMarian()


def _special_ids(tokenizer):
    ids = (tokenizer.padding_id, tokenizer.start_id, tokenizer.end_id, tokenizer.unknown_id)
    return [token_id for token_id in ids if token_id is not None]


def _split_special(texts, special_tokens):
    """Splits texts (B,) at their special tokens, which are kept: ragged (B, parts)."""
    import tensorflow as tf

    # Longest first, since one token may be a prefix of another.
    whole = sorted(filter(None, special_tokens), key=len, reverse=True)
    if not whole:
        return tf.RaggedTensor.from_tensor(texts[:, None])
    pattern = "|".join(map(re.escape, whole))
    # tensorflow_text.regex_split would end a text at its first NUL.
    texts = tf.strings.regex_replace(texts, f"({pattern})", rf"{_CUT}\1{_CUT}")
    return tf.strings.split(texts, _CUT)


def _is_one_of(texts, tokens):
    import tensorflow as tf

    found = tf.zeros_like(texts, tf.bool)
    for token in tokens:
        found |= texts == token
    return found


def _clean_spaces(texts):
    """Applies `clean_spaces` to a tensor."""
    import tensorflow as tf

    for mark in SPACED_MARKS:
        texts = tf.strings.regex_replace(texts, re.escape(f" {mark}"), mark)
    texts = tf.strings.regex_replace(texts, " ' ", "'")
    for ending in SPACED_ENDINGS:
        texts = tf.strings.regex_replace(texts, f" {ending}", ending)
    return texts
