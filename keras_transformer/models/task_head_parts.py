"""Parts shared by the task heads: reading a body, scoring, the auxiliary loss.

Shape letters: B batch, K rows per example, R all rows (B or B * K), T length, D hidden,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from keras_transformer.checks import check_at_least, check_rate
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.models.new_tokens import language_model_parts
from keras_transformer.models.task_bodies import kind_of, pool, read_body
from keras_transformer.models.task_head_layers import (
    LanguageModelLoss,
    MergeRows,
    SplitRows,
    StateAt,
    TokenPosition,
)

Tensor = Any


class Rows(NamedTuple):
    """The symbolic results of a language model for all rows of a batch.

    Attributes:
        inputs: The model's inputs by name.
        token_ids: Int (R, T).
        last: Int (R,), the position that the head reads, each row's last real token.
        hidden: (R, T, D), the decoder's output.
        state: (R, D), the hidden states at `last`.
    """

    inputs: dict[str, Tensor]
    token_ids: Tensor
    last: Tensor
    hidden: Tensor
    state: Tensor


class Vector(NamedTuple):
    """One symbolic vector per example, and what it was computed from.

    Attributes:
        inputs: The inputs by name; for a vision Transformer, the input itself.
        vector: (B, D).
        dtype_policy: The dtype policy of the body.
        rows: The rows of a language model read at its extract token; None for others.
        lm_weight: Weight of the auxiliary language-model loss.
    """

    inputs: Any
    vector: Tensor
    dtype_policy: Any
    rows: Rows | None
    lm_weight: float


def read_vector(
    body: keras.Model,
    extract_id: int | None,
    pooling: str | None,
    segments: bool,
    lm_weight: float | None,
) -> Vector:
    """Runs a body and pools its hidden states, see `kt.models.classifier`."""
    is_language_model = kind_of(body) == "language_model"
    if is_language_model and pooling in (None, "extract") and not segments:
        parts = language_model_parts(body)
        if lm_weight is None:
            lm_weight = 0.5 if parts.projection is None else 0.0
        rows = read_rows(body, extract_id, per_example=None)
        return Vector(rows.inputs, rows.state, parts.embedding.dtype_policy, rows, lm_weight)
    for name, value in (("extract_id", extract_id), ("lm_weight", lm_weight or None)):
        if value is not None:
            raise ValueError(
                f"`{name}` requires a language model with `pooling='extract'`. "
                f"Received: {name}={value!r}, pooling={pooling!r}, body={body.name!r}."
            )
    read = read_body(body, segments)
    return Vector(read.inputs, pool(read, pooling), read.dtype_policy, None, 0.0)


def make_head(
    dtype: Any, num_outputs: int, dropout: float, initializer_stddev: float
) -> tuple[keras.layers.Dropout, keras.layers.Dense]:
    """Creates the dropout and dense layers that score hidden states."""
    check_rate(dropout=dropout)
    dense = keras.layers.Dense(
        num_outputs,
        kernel_initializer=keras.initializers.RandomNormal(stddev=initializer_stddev),
        dtype=dtype,
        name="head",
    )
    return Dropout(dropout, dtype=dtype, name="head_dropout"), dense


def read_rows(
    lm: keras.Model,
    extract_id: int | None,
    per_example: int | None,
    several: bool = False,
    extract_positions: bool = False,
    token_types: bool = False,
) -> Rows:
    """Runs the language model over all rows; an example has one or several of them."""
    embedding, decoder, _ = language_model_parts(lm)
    several = several or per_example is not None
    shape = (per_example, None) if several else (None,)
    inputs = {"token_ids": keras.Input(shape, dtype="int32", name="token_ids")}
    if extract_positions:
        inputs["extract_positions"] = keras.Input(
            shape[:-1], dtype="int32", name="extract_positions"
        )
    if token_types:
        inputs["token_types"] = keras.Input(shape, dtype="int32", name="token_types")
    merged = dict(inputs)
    if several:
        merge = MergeRows(dtype="int32", name="merge_rows")
        merged = {key: merge(tensor) for key, tensor in inputs.items()}
    token_ids = merged["token_ids"]
    embedded = embedding(token_ids)
    if token_types:
        embedded = embedded + embedding(merged["token_types"])
    # Passed explicitly, since a sum of embeddings has no mask.
    hidden = decoder(embedded, padding_mask=embedding.compute_mask(token_ids))
    if extract_positions:
        last = merged["extract_positions"]
    else:
        extract_id = _extract_id(embedding, extract_id)
        last = TokenPosition(extract_id, name="extract_position")(token_ids)
    state = StateAt(dtype=decoder.dtype_policy, name="extract_state")(hidden, last)
    return Rows(inputs, token_ids, last, hidden, state)


def _extract_id(embedding, extract_id):
    if extract_id is None:
        return embedding.vocabulary_size - 1
    if not isinstance(extract_id, int) or not 0 <= extract_id < embedding.vocabulary_size:
        raise ValueError(
            f"`extract_id` must be an id of the vocabulary, from 0 to "
            f"{embedding.vocabulary_size - 1}. Received: extract_id={extract_id!r}."
        )
    if extract_id == embedding.padding_id:
        raise ValueError(
            f"`extract_id` must not be the padding id. Received: extract_id={extract_id}."
        )
    return extract_id


def task_model(
    lm: keras.Model,
    rows: Rows,
    score: Callable[[Rows], Tensor],
    lm_weight: float,
    name: str,
    return_logits: bool = False,
) -> keras.Model:
    """Builds the model of a task from the rows and a function that scores them."""
    logits = score(rows)
    probabilities = _with_language_model_loss(lm, rows, softmax(logits), lm_weight)
    if not return_logits:
        return keras.Model(rows.inputs, probabilities, name=name)
    lm_logits = language_model_parts(lm).logits(rows.hidden)
    lm_logits = SplitRows(name="lm_logits")(lm_logits, rows.inputs["token_ids"])
    outputs = {"probabilities": probabilities, "logits": logits, "lm_logits": lm_logits}
    return keras.Model(rows.inputs, outputs, name=name)


def head_model(body: keras.Model, read: Vector, output: Tensor, name: str) -> keras.Model:
    """Builds the model of a task head, with the auxiliary loss if it has one."""
    if read.rows is not None:
        output = _with_language_model_loss(body, read.rows, output, read.lm_weight)
    return keras.Model(read.inputs, output, name=name)


def softmax(logits: Tensor) -> Tensor:
    """Returns probabilities, always in float32, since the loss takes their logarithm."""
    return keras.layers.Softmax(dtype="float32", name="probabilities")(logits)


def _with_language_model_loss(lm, rows, output, lm_weight):
    check_at_least(0, lm_weight=lm_weight)
    parts = language_model_parts(lm)
    if lm_weight == 0:
        return output
    if parts.projection is not None:
        raise ValueError(
            "`lm_weight` must be 0 if the output projection of the language model is not tied to "
            f"its embedding. Received: lm_weight={lm_weight!r}."
        )
    return LanguageModelLoss(float(lm_weight), name="language_model_loss")(
        output,
        hidden=rows.hidden,
        token_ids=rows.token_ids,
        last=rows.last,
        embeddings=parts.embedding(rows.token_ids, return_matrix=True),
    )
