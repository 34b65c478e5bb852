"""Task heads of GPT-1: pairs of texts and multiple choice, on language models."""

from __future__ import annotations

import keras
from keras import ops

from keras_transformer.checks import check_positive
from keras_transformer.models.new_tokens import language_model_parts
from keras_transformer.models.task_head_layers import SplitRows
from keras_transformer.models.task_head_parts import make_head, read_rows, task_model
from keras_transformer.models.task_heads import classifier


def entailment(
    lm: keras.Model,
    num_classes: int = 3,
    extract_id: int | None = None,
    *,
    lm_weight: float = 0.5,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    name: str = "entailment",
) -> keras.Model:
    """Adds a classifier of premise-hypothesis pairs to a language model.

    Same as `classifier`, for rows `[start; premise; delimiter; hypothesis; extract]`.

    Args:
        lm: A language model, see `classifier`.
        num_classes: Number of classes, such as entailment, contradiction and neutral.
        extract_id: Id of the token that ends each row; None for the last id of the vocabulary.
        lm_weight: Weight of the auxiliary language-model loss; 0 for none.
        dropout: Dropout rate on the input of the head.
        initializer_stddev: Initial standard deviation of the head's kernel.
        name: Name of the model.

    Returns:
        A `keras.Model`: `token_ids` (B, T) to probabilities (B, `num_classes`).

    Raises:
        ValueError: If `lm` is not a language model, or an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.models.entailment(kt.models.with_new_tokens(lm, 3)).output.shape
        (None, 3)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3, "Textual entailment".
    """
    language_model_parts(lm)  # rejects other bodies
    return classifier(
        lm,
        num_classes,
        extract_id,
        lm_weight=lm_weight,
        dropout=dropout,
        initializer_stddev=initializer_stddev,
        name=name,
    )


def similarity(
    lm: keras.Model,
    num_classes: int = 2,
    extract_id: int | None = None,
    *,
    lm_weight: float = 0.5,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    name: str = "similarity",
) -> keras.Model:
    """Adds a classifier of text pairs, independent of their order, to a language model.

    Each example has two rows, with the texts in both orders:
    `[start; first; delimiter; second; extract]` and `[start; second; delimiter; first; extract]`.
    The hidden states at their extract tokens are summed, and the sum is classified. See
    `classifier` for the rest.

    Args:
        lm: A language model, see `classifier`.
        num_classes: Number of classes, such as different and similar.
        extract_id: Id of the token that ends each row; None for the last id of the vocabulary.
        lm_weight: Weight of the auxiliary language-model loss; 0 for none.
        dropout: Dropout rate on the input of the head.
        initializer_stddev: Initial standard deviation of the head's kernel.
        name: Name of the model.

    Returns:
        A `keras.Model`: `token_ids` (B, 2, T) to probabilities (B, `num_classes`).

    Raises:
        ValueError: If `lm` is not a language model, or an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.models.similarity(kt.models.with_new_tokens(lm, 3)).output.shape
        (None, 2)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3, "Similarity".
    """
    check_positive(num_classes=num_classes)

    def score(rows):
        states = SplitRows(dtype=rows.state.dtype)(rows.state, rows.inputs["token_ids"])
        return head(drop(ops.sum(states, axis=1)))  # (B, 2, D) to (B, D)

    policy = language_model_parts(lm).embedding.dtype_policy
    drop, head = make_head(policy, num_classes, dropout, initializer_stddev)
    rows = read_rows(lm, extract_id, per_example=2)
    return task_model(lm, rows, score, lm_weight, name)


def multiple_choice(
    lm: keras.Model,
    extract_id: int | None = None,
    *,
    lm_weight: float = 0.5,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    extract_positions: bool = False,
    token_types: bool = False,
    return_logits: bool = False,
    name: str = "multiple_choice",
) -> keras.Model:
    """Adds a multiple-choice head to a language model.

    Each example has K rows `[start; context; delimiter; candidate; extract]`, one per candidate.
    The same dense layer scores each row, and a softmax over the candidates gives probabilities. See
    `classifier` for the rest.

    Args:
        lm: A language model, see `classifier`.
        extract_id: Id of the token that ends each row; None for the last id of the vocabulary.
        lm_weight: Weight of the auxiliary language-model loss; 0 for none.
        dropout: Dropout rate on the input of the head.
        initializer_stddev: Initial standard deviation of the head's kernel.
        extract_positions: Whether to add an input `extract_positions`, int (B, K), with the
            positions that the head reads; `extract_id` is then ignored.
        token_types: Whether to add an input `token_types`, ids (B, K, T) whose embeddings, from the
            token embedding, are added to those of the tokens.
        return_logits: Whether to return a dict of `probabilities`, `logits` (B, K) before the
            softmax and `lm_logits` (B, K, T, V).
        name: Name of the model.

    Returns:
        A `keras.Model`: `token_ids` (B, K, T) to probabilities (B, K) or, with `return_logits`, to
        the dict.

    Raises:
        ValueError: If `lm` is not a language model, or an argument is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> model = kt.models.multiple_choice(kt.models.with_new_tokens(lm, 3))
        >>> ids = np.array([[[100, 5, 101, 6, 102], [100, 5, 101, 7, 102]]])
        >>> model.predict({"token_ids": ids}, verbose=0).shape
        (1, 2)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 3.3, "Question Answering and Commonsense Reasoning".
    """

    def score(rows):
        scores = SplitRows(dtype=head.dtype_policy)(
            head(drop(rows.state)), rows.inputs["token_ids"]
        )
        return ops.squeeze(scores, axis=-1)  # (B, K, 1) to (B, K)

    policy = language_model_parts(lm).embedding.dtype_policy
    drop, head = make_head(policy, 1, dropout, initializer_stddev)
    rows = read_rows(lm, extract_id, None, True, extract_positions, token_types)
    return task_model(lm, rows, score, lm_weight, name, return_logits)
