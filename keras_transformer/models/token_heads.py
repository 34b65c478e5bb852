"""Token-level task heads on pretrained models: classes of tokens, spans of text."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_positive
from keras_transformer.models.task_bodies import read_text_body
from keras_transformer.models.task_head_parts import make_head


def token_classifier(
    body: keras.Model,
    num_classes: int,
    *,
    segments: bool = False,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    name: str = "token_classifier",
) -> keras.Model:
    """Adds a token classifier to a pretrained model, for example for names or parts of speech.

    A functional model from `token_ids` (B, T) to probabilities (B, T, `num_classes`), in float32.
    The hidden states go through dropout and a dense layer named `head`. `kt.data.tagged_rows`
    makes rows of words and their tags: a word's first subword is labeled with its tag, and all
    other tokens have the sample weight 0, so they count neither in the loss nor in weighted
    metrics. The model shares its layers with `body`. In a language model, the class of a token
    depends on that token and those before it, not on later ones.

    Args:
        body: A model from `kt.models.bert`, `gpt` or `kt.pretrained.load`.
        num_classes: Number of classes.
        segments: Whether to add the input `segment_ids` (B, T), for pairs of texts.
        dropout: Dropout rate on the input of the head.
        initializer_stddev: Initial standard deviation of the head's kernel.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If `body` does not read text, or an argument is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> bert = kt.models.bert(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> model = kt.models.token_classifier(bert, num_classes=5)
        >>> model.predict({"token_ids": np.array([[2, 5, 6, 3]])}, verbose=0).shape
        (1, 4, 5)

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", section 5.3.
    """
    check_positive(num_classes=num_classes)
    read = read_text_body(body, segments)
    drop, head = make_head(read.dtype_policy, num_classes, dropout, initializer_stddev)
    # Not a Softmax layer, which would apply Keras's implicit mask of tokens to the classes.
    softmax = keras.layers.Activation("softmax", dtype="float32", name="probabilities")
    return keras.Model(read.inputs, softmax(head(drop(read.hidden))), name=name)


def span_extractor(
    body: keras.Model,
    *,
    segments: bool = False,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    name: str = "span_extractor",
) -> keras.Model:
    """Adds a span extractor to a pretrained model, for example to find answers in a text.

    A functional model from `token_ids` (B, T) to a dict of `start` and `end`, float32 (B, T): the
    probability that the span starts or ends at each token; 0 for padding. Train it with labels of
    the same names, positions (B,), and `loss="sparse_categorical_crossentropy"`.
    `kt.data.question_rows` makes rows of questions and contexts, and `kt.data.best_spans` finds the
    most probable span. The model shares its layers with `body`.

    Args:
        body: A model from `kt.models.bert`, `gpt` or `kt.pretrained.load`.
        segments: Whether to add the input `segment_ids` (B, T), to distinguish question and
            context.
        dropout: Dropout rate on the input of the head.
        initializer_stddev: Initial standard deviation of the head's kernel.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If `body` does not read text, it has no segments although `segments` is True, or
            an argument is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> bert = kt.models.bert(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> model = kt.models.span_extractor(bert, segments=True)
        >>> inputs = {"token_ids": np.array([[2, 5, 6, 3, 7, 8, 3]])}
        >>> inputs["segment_ids"] = np.array([[0, 0, 0, 0, 1, 1, 1]])
        >>> sorted(model.predict(inputs, verbose=0))
        ['end', 'start']

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", section 4.2.
    """
    read = read_text_body(body, segments)
    drop, head = make_head(read.dtype_policy, 2, dropout, initializer_stddev)
    scores = head(drop(read.hidden))  # (B, T, 2)
    outputs = {
        key: _over_tokens(scores[:, :, index], read.padding_mask, key)
        for index, key in enumerate(("start", "end"))
    }
    return keras.Model(read.inputs, outputs, name=name)


def _over_tokens(scores: Any, padding_mask: Any, name: str) -> Any:
    """Returns probabilities (B, T) over the real tokens; zeros for a row without any."""
    scores = ops.cast(scores, "float32")
    if padding_mask is not None:
        scores = ops.where(padding_mask, scores, -1e9)
    # No implicit Keras mask may remain: it would weight the loss of a row token by token.
    probabilities = keras.layers.Softmax(dtype="float32", name=f"{name}_probabilities")(scores)
    if padding_mask is None:
        return probabilities
    return ops.where(padding_mask, probabilities, 0.0)
