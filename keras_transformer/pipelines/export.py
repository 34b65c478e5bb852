"""Export of a translator as a SavedModel that translates strings.

Shape letters: B batch, T target length, S source length, K hypotheses per source.
"""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.decoding.beam_search_loop import (
    SearchSettings,
    advance_search,
    begin_search,
    search_goes_on,
)
from keras_transformer.decoding.compilation import repeat_steps
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.prompts import check_count
from keras_transformer.files import write_new_folder
from keras_transformer.pipelines.defaults import limit_of, overridden, search_options
from keras_transformer.pipelines.graph_tokenizers import check_graph_tokenizer, make_graph_tokenizer


def export_translator(
    translator: Any,
    folder: str | os.PathLike,
    num_beams: int = 1,
    length_penalty: float | None = None,
    max_new_tokens: int | None = None,
) -> None:
    """Exports the translator as a TensorFlow SavedModel that translates strings.

    Tokenizers and search are part of the graph: loading it requires only tensorflow and
    tensorflow_text, not Keras or this library. Its `translate` function, which is also its serving
    signature, takes strings (B,) and returns a dict with the strings `translations` (B,). It
    decodes over the whole vocabulary: a translator's shortlist is not exported.

    Args:
        translator: The `kt.Translator`.
        folder: A new or empty folder.
        num_beams: Beam size; 1 is greedy decoding.
        length_penalty: The alpha of the beam search; None for the translator's default.
        max_new_tokens: Maximum number of subwords in a translation; None for the translator's
            default, usually 50 more than the longest source of a call.

    Raises:
        ValueError: if the backend is not TensorFlow, the folder is not empty, a tokenizer is
            neither SentencePiece with its original ids nor Marian's, or a number is out of range.

    Example:
        ```python
        translator.export("served")
        # Elsewhere, after `import tensorflow as tf, tensorflow_text`:
        tf.saved_model.load("served").translate(["Hello."])["translations"]
        ```
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"`export` requires the TensorFlow backend. Received: backend={backend!r}. Save the "
            "translator, set KERAS_BACKEND=tensorflow, and load it there: a saved folder loads on "
            "every backend."
        )
    check_count("num_beams", num_beams, 1)
    check_count("max_new_tokens", 1 if max_new_tokens is None else max_new_tokens, 1)
    if translator.defaults.repetition_penalty != 1.0:
        raise ValueError(
            "`repetition_penalty` in `translator.defaults` must be 1 for export. Received: "
            f"repetition_penalty={translator.defaults.repetition_penalty}."
        )
    for tokenizer in (translator.source_tokenizer, translator.target_tokenizer):
        check_graph_tokenizer(tokenizer)
    import_text_package("tensorflow_text")
    import tensorflow as tf

    defaults = overridden(
        translator.defaults, length_penalty=length_penalty, max_new_tokens=max_new_tokens
    )
    module = _make_module(translator, num_beams, defaults)

    def write(work):
        signature = module.translate.get_concrete_function()
        tf.saved_model.save(module, str(work), signatures={"serving_default": signature})

    write_new_folder(folder, write)


def _make_module(translator, num_beams, defaults):
    """Builds a `tf.Module` that, once saved, runs without Python code of this library."""
    import tensorflow as tf

    model, parts = translator.model, DecodingModel(translator.model)
    source_ids = special_ids(translator.source_tokenizer)
    target_ids: Any = special_ids(translator.target_tokenizer)  # a translator's are never None
    settings = SearchSettings(
        num_beams,
        num_return=1,
        end_id=target_ids.end,
        **search_options(defaults, translator.target_tokenizer),
    )
    padding_id = parts.source_embedding.padding_id or 0
    module = tf.Module(name="translator")
    # Only attributes are saved.
    module.weights = [variable.value for variable in model.variables]
    module.source = make_graph_tokenizer(translator.source_tokenizer)
    module.target = make_graph_tokenizer(translator.target_tokenizer)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
    def translate(texts):
        ids = module.source.tokenize(texts)  # ragged (B, S)
        ids = tf.concat([ids, tf.fill([tf.shape(texts)[0], 1], source_ids.end)], axis=1)
        mask = tf.cast(tf.ones_like(ids), tf.bool).to_tensor()
        # float64, so that a multiple of a length is rounded up exactly as in Python.
        lengths = tf.cast(ids.row_lengths(), tf.float64)
        longest = tf.cast(tf.shape(mask)[1], tf.float64)
        limits = limit_of(defaults, lengths, longest, tf.math.ceil)
        limits = tf.broadcast_to(tf.cast(limits, tf.int32), tf.shape(texts))
        if parts.max_length is not None:
            limits = tf.minimum(limits, parts.max_length)
        tokens = _search(model, settings, target_ids.start, ids.to_tensor(padding_id), mask, limits)
        return {"translations": module.target.detokenize(tokens)}

    module.translate = translate
    return module


def _search(model, settings, start_id, source_ids, source_mask, limits):
    """Returns the best hypothesis for each source, ragged (B, T), without its end token."""
    import tensorflow as tf

    batch, beams = tf.shape(source_ids)[0], settings.num_beams
    limit = tf.maximum(tf.reduce_max(limits), 1)  # without texts, the maximum would be negative
    loop = {"history": tf.fill([batch * beams, 1], start_id), "limit": limit}
    state, context = begin_search(
        model,
        settings,
        (),
        prompt_ids=tf.fill([batch, 1], start_id),
        prompt_mask=tf.fill([batch, 1], True),
        buffer=tf.zeros([1, limit], tf.int32),
        source_ids=source_ids,
        source_mask=source_mask,
        **loop,
    )
    loop.update(context=context, until=limit)
    state = repeat_steps(model, settings, state, search_goes_on, advance_search, **loop)
    best = tf.reshape(state.finished_ids, [batch, beams, limit])[:, 0]
    lengths = state.finished_lengths[:, 0]
    if beams == 1:  # Each greedy translation has its own limit, independent of the batch.
        lengths = tf.minimum(lengths, limits)
    written = tf.sequence_mask(lengths, limit)
    return tf.ragged.boolean_mask(best, written & (best != settings.end_id))
