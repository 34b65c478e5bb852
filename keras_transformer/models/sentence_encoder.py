"""Sentence encoders: models that map similar texts to similar vectors, one for each text."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check, check_choice, check_flag
from keras_transformer.layers.layer import Layer
from keras_transformer.models.task_bodies import pool, read_text_body

Tensor = Any

# Appended to the name of the body, which identifies its checkpoint family.
NAME_ENDING = "_sentence_encoder"
_POOLINGS = ("mean", "first", "last", "max")


@keras.saving.register_keras_serializable(package="keras_transformer")
class UnitVectors(Layer):
    """Scales vectors (B, D) to length 1; a zero vector stays zero and has a zero gradient."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)

    def call(self, inputs: Tensor) -> Tensor:
        """Divides each vector by its length, or by 1e-12 if it is shorter than that.

        Args:
            inputs: (B, D).

        Returns:
            (B, D).
        """
        squares = ops.sum(ops.square(inputs), axis=-1, keepdims=True)
        # The maximum is taken inside the root, whose gradient would be infinite at 0.
        return inputs * ops.rsqrt(ops.maximum(squares, 1e-24))

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)


def sentence_encoder(
    body: keras.Model,
    pooling: str = "mean",
    normalize: bool = True,
    *,
    segments: bool = False,
    projection: keras.layers.Layer | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a sentence encoder, which maps a text to one vector, from a pretrained model.

    A functional model from `token_ids` (B, T) to vectors (B, D). The hidden states of the real
    tokens are pooled into one vector, which is optionally projected and then scaled to length 1, so
    that the dot product of two vectors is their cosine similarity. These steps are the layers
    `pooling`, the given projection and `unit_vectors`; all other layers are shared with `body`, so
    training the model also trains `body`. Vectors are float32 for every dtype policy of `body`.

    Args:
        body: A model from `kt.models.bert`, `gpt` or `kt.pretrained.load`. Its heads are left out.
        pooling: "mean" or "max" of each feature over the real tokens, or the hidden state of the
            "first" (`[CLS]`) or "last" of them. Use "last" for a language model.
        normalize: Whether to scale the vectors to length 1.
        segments: Whether to add the input `segment_ids` (B, T); otherwise all segment ids are 0.
        projection: A layer applied to the pooled vectors (B, D), such as
            `keras.layers.Dense(64, "tanh")`; None for none.
        name: Name of the model; None for the name of `body` followed by "_sentence_encoder".

    Returns:
        A `keras.Model` that returns sentence vectors (B, D). A text without tokens gives zeros if
        there is no projection.

    Raises:
        ValueError: If `body` does not read text or has no padding id, or an argument is invalid.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> body = kt.models.bert(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> encoder = kt.models.sentence_encoder(body)
        >>> ids = np.array([[5, 6, 7, 0], [8, 9, 0, 0]])
        >>> encoder({"token_ids": ids}).shape
        (2, 16)

    Reference:
        Reimers and Gurevych 2019, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks",
        section 3.
    """
    check_choice(_POOLINGS, pooling=pooling)
    check_flag(normalize=normalize)
    layer = projection is None or isinstance(projection, keras.layers.Layer)
    check(layer, "be a Keras layer or None", "projection", projection)
    read = read_text_body(body, segments)
    vectors = pool(read, pooling, dtype="float32")
    if projection is not None:
        vectors = projection(vectors)
    if normalize:
        vectors = UnitVectors(dtype="float32", name="unit_vectors")(vectors)
    return keras.Model(read.inputs, vectors, name=name or f"{body.name}{NAME_ENDING}")


def sentence_pairs(encoder: keras.Model, *, name: str = "sentence_pairs") -> keras.Model:
    """Wraps a sentence encoder for training on pairs of similar texts.

    A functional model from two batches of texts to the dot products (B, B) of their vectors: the
    similarity of each first text to each second one. Each input of `encoder` becomes two, such as
    `first_token_ids` and `second_token_ids`. The loss `kt.training.InBatchNegatives` makes each
    text more similar to its own partner than to the other texts of the batch.

    The encoder is a single layer of the model, called twice, so training the model trains
    `encoder`, which can then be used by itself. Call `predict` with a single batch, since it would
    concatenate the matrices of several.

    Args:
        encoder: A model from `sentence_encoder` or `kt.pretrained.load`.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If `encoder` does not map named inputs to one vector for each text.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> body = kt.models.bert(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32,
        ...     num_segments=None)
        >>> model = kt.models.sentence_pairs(kt.models.sentence_encoder(body))
        >>> model.compile("adam", kt.training.InBatchNegatives())
        >>> texts, others = np.random.default_rng(0).integers(1, 100, (2, 8, 5))
        >>> inputs = {"first_token_ids": texts, "second_token_ids": others}
        >>> history = model.fit(inputs, np.arange(8), batch_size=4, verbose=0)
        >>> model(inputs).shape
        (8, 8)

    Reference:
        Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply",
        section 4.
    """
    inputs = getattr(encoder, "input", None)
    output = getattr(encoder, "output", None)
    if not isinstance(inputs, dict) or len(getattr(output, "shape", ())) != 2:
        raise ValueError(
            "`encoder` must be a model from named inputs to vectors (B, D), such as one from "
            f"kt.models.sentence_encoder. Received: encoder={encoder!r}."
        )
    pair = [
        {
            key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=f"{side}_{key}")
            for key, tensor in inputs.items()
        }
        for side in ("first", "second")
    ]
    first, second = (encoder(one) for one in pair)
    similarities = ops.matmul(first, ops.transpose(second))
    by_name = {tensor.name: tensor for one in pair for tensor in one.values()}
    return keras.Model(by_name, similarities, name=name)
