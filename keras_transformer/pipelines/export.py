"""Export of a translator as a SavedModel from strings to strings.

Shape letters: B batch, T target length, S source length, K hypotheses per source.
"""

from __future__ import annotations

import os
from typing import Any

import keras
from keras import ops

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.text_packages import import_text_package
from keras_transformer.decoding.beams import (
    SearchSettings,
    advance_search,
    begin_search,
    search_goes_on,
)
from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.decoding.prompts import check_count
from keras_transformer.pipelines.defaults import usual_bans
from keras_transformer.pipelines.graph_tokenizers import check_graph_tokenizer, make_graph_tokenizer
from keras_transformer.pretrained.whole_folder import write_new_folder


def export_translator(
    translator: Any,
    folder: str | os.PathLike,
    num_beams: int = 1,
    length_penalty: float | None = None,
    max_new_tokens: int | None = None,
) -> None:
    """Exports the translator as a TensorFlow SavedModel from strings to strings.

    Tokenizers and search are part of the graph: loading it requires only tensorflow and
    tensorflow_text, not Keras or this library. Its `translate` function, which is also its serving
    signature, takes strings (B,) and returns a dict with the strings `translations` (B,). It
    decodes over the whole vocabulary: a translator's shortlist is not exported.

    Args:
        translator: The `kt.Translator` itself.
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

    told = {"length_penalty": length_penalty, "max_new_tokens": max_new_tokens}
    told = {name: value for name, value in told.items() if value is not None}
    module = _make_module(translator, num_beams, translator.defaults._replace(**told))

    def write(work):
        signature = module.translate.get_concrete_function()
        tf.saved_model.save(module, str(work), signatures={"serving_default": signature})

    write_new_folder(folder, write)


def _settings(translator, num_beams, defaults):
    bans = defaults.banned_ids
    ids: Any = special_ids(translator.target_tokenizer)  # a translator's are never None
    return SearchSettings(
        num_beams=num_beams,
        num_return=1,
        end_id=ids.end,
        length_penalty=float(defaults.length_penalty),
        normalization=defaults.length_normalization,
        early_stopping=defaults.early_stopping,
        banned_ids=usual_bans(translator.target_tokenizer) if bans is None else bans,
        min_length=defaults.min_new_tokens,
        no_repeat_ngram_size=defaults.no_repeat_ngram_size,
        renormalize=defaults.renormalize,
    )


def _make_module(translator, num_beams, defaults):
    """Builds a `tf.Module` that, once saved, runs without Python code of this library."""
    import tensorflow as tf

    model, parts = translator.model, DecodingModel(translator.model)
    settings = _settings(translator, num_beams, defaults)
    source_ids = special_ids(translator.source_tokenizer)
    start_id = special_ids(translator.target_tokenizer).start
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
        longest = tf.shape(mask)[1]
        if defaults.max_new_tokens is not None:
            limit = tf.constant(defaults.max_new_tokens)
        elif defaults.max_length_factor is not None:
            factor = defaults.max_length_factor
            limit = tf.cast(tf.math.ceil(factor * tf.cast(longest, tf.float32)), tf.int32)
        else:
            limit = longest + 50
        if parts.max_length is not None:
            limit = tf.minimum(limit, parts.max_length)
        tokens = _search(model, settings, start_id, ids.to_tensor(padding_id), mask, limit)
        return {"translations": module.target.detokenize(tokens)}

    module.translate = translate
    return module


def _search(model, settings, start_id, source_ids, source_mask, limit):
    """Returns the best hypothesis for each source, ragged (B, T), without its end token."""
    import tensorflow as tf

    batch, beams = tf.shape(source_ids)[0], settings.num_beams
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
    make = type(state)
    state = make(
        *ops.while_loop(
            lambda *state: search_goes_on(make(*state), context, limit, **loop),
            lambda *state: tuple(
                advance_search(model, settings, make(*state), context, limit, **loop)
            ),
            tuple(state),
        )
    )
    best = tf.reshape(state.finished_ids, [batch, beams, limit])[:, 0]
    written = tf.sequence_mask(state.finished_lengths[:, 0], limit)
    return tf.ragged.boolean_mask(best, written & (best != settings.end_id))
