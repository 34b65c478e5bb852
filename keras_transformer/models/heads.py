"""Task heads on language models: fine-tuning as GPT-1 does it."""

from __future__ import annotations

import keras
from keras import ops

from keras_transformer.layers.checks import check_positive
from keras_transformer.layers.task import SplitRows
from keras_transformer.models.head_parts import make_head, read_rows, task_model


def classifier(
    lm: keras.Model,
    num_classes: int,
    extract_id: int | None = None,
    *,
    lm_weight: float = 0.5,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    name: str = "classifier",
) -> keras.Model:
    r"""Puts a classifier on a language model: $P(y | x) = \text{softmax}(h_{\text{extract}} W_y)$.

    A functional model with the input `token_ids` (B, T), rows `[start; text; extract]` and padding
    after them, and the probabilities (B, `num_classes`) as output. What the language model makes of
    the extract token goes through dropout and one dense layer, named `head`.

    The layers are those of `lm`, not copies: training this model trains that one. While it trains,
    the language model's own loss over the rows is added to that of the labels,
    $L = L_{\text{labels}} + \lambda L_{\text{language model}}$, so plain `compile` and `fit` with
    the labels alone are all it takes; `evaluate` shows the loss of the labels only.

    Args:
        lm: a language model as `kt.models.gpt`, `with_new_tokens` or `kt.pretrained.load` make it.
        num_classes: number of classes.
        extract_id: id of the token that ends each row, of which the first in a row counts; None for
            the last id of the vocabulary.
        lm_weight: lambda, the weight of the auxiliary loss; 0 for none.
        dropout: rate on what the head reads.
        initializer_stddev: standard deviation of the head's kernel at the start.
        name: name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: `lm` is no language model, or an argument is out of its range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> lm = kt.models.with_new_tokens(lm, 2)  # the start 100, and 101 to extract
        >>> model = kt.models.classifier(lm, num_classes=3)
        >>> model.compile(**kt.training.gpt1_finetuning_recipe(total_steps=1))
        >>> ids = np.array([[100, 5, 6, 101, 0, 0]])
        >>> history = model.fit({"token_ids": ids}, np.array([2]), verbose=0)
        >>> model.predict({"token_ids": ids}, verbose=0).shape
        (1, 3)

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        sections 3.2 and 3.3.
    """
    check_positive(num_classes=num_classes)

    def score(rows):
        return head(drop(rows.state))

    drop, head = make_head(lm, num_classes, dropout, initializer_stddev)
    rows = read_rows(lm, extract_id, per_example=None)
    return task_model(lm, rows, score, lm_weight, name)


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
    """Puts a classifier of premise and hypothesis on a language model.

    The model of `classifier`, for rows `[start; premise; delimiter; hypothesis; extract]`.

    Args:
        lm: a language model, see `classifier`.
        num_classes: number of classes: entailment, contradiction, neutral.
        extract_id: id of the token that ends each row; None for the last id of the vocabulary.
        lm_weight: weight of the auxiliary language-model loss; 0 for none.
        dropout: rate on what the head reads.
        initializer_stddev: standard deviation of the head's kernel at the start.
        name: name of the model.

    Returns:
        A `keras.Model`: `token_ids` (B, T) to probabilities (B, `num_classes`).

    Raises:
        ValueError: `lm` is no language model, or an argument is out of its range.

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
    """Puts a judge of two texts, whose order does not matter, on a language model.

    Each example is two rows, the texts in both orders:
    `[start; first; delimiter; second; extract]` and `[start; second; delimiter; first; extract]`.
    What the language model makes of their extract tokens is summed, and the sum is classified. See
    `classifier` for the rest.

    Args:
        lm: a language model, see `classifier`.
        num_classes: number of classes: different and similar.
        extract_id: id of the token that ends each row; None for the last id of the vocabulary.
        lm_weight: weight of the auxiliary language-model loss; 0 for none.
        dropout: rate on what the head reads.
        initializer_stddev: standard deviation of the head's kernel at the start.
        name: name of the model.

    Returns:
        A `keras.Model`: `token_ids` (B, 2, T) to probabilities (B, `num_classes`).

    Raises:
        ValueError: `lm` is no language model, or an argument is out of its range.

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

    drop, head = make_head(lm, num_classes, dropout, initializer_stddev)
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
    """Puts a choice among candidates on a language model.

    Each example is K rows `[start; context; delimiter; candidate; extract]`, as many as there are
    candidates; each gets one score from the same dense layer, and a softmax over the candidates
    makes probabilities of them. See `classifier` for the rest.

    Args:
        lm: a language model, see `classifier`.
        extract_id: id of the token that ends each row; None for the last id of the vocabulary.
        lm_weight: weight of the auxiliary language-model loss; 0 for none.
        dropout: rate on what the head reads.
        initializer_stddev: standard deviation of the head's kernel at the start.
        extract_positions: say where the head reads by a second input, `extract_positions`
            (B, K), instead of by a token.
        token_types: take a further input `token_types`, ids (B, K, T) whose embeddings, from the
            same matrix as those of the tokens, are added.
        return_logits: give a dict of `probabilities`, `logits` (B, K) before the softmax and
            `lm_logits` (B, K, T, V).
        name: name of the model.

    Returns:
        A `keras.Model`: `token_ids` (B, K, T) to probabilities (B, K), or to the dict.

    Raises:
        ValueError: `lm` is no language model, or an argument is out of its range.

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

    drop, head = make_head(lm, 1, dropout, initializer_stddev)
    rows = read_rows(lm, extract_id, None, True, extract_positions, token_types)
    return task_model(lm, rows, score, lm_weight, name, return_logits)
