"""Task heads on pretrained models: classes or numbers for each example."""

from __future__ import annotations

import keras

from keras_transformer.checks import check_positive
from keras_transformer.models.task_head_parts import head_model, make_head, read_vector, softmax


def classifier(
    body: keras.Model,
    num_classes: int,
    extract_id: int | None = None,
    *,
    pooling: str | None = None,
    segments: bool = False,
    lm_weight: float | None = None,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    name: str = "classifier",
) -> keras.Model:
    r"""Adds a classifier to a pretrained model: $P(y | x) = \text{softmax}(h W_y)$.

    A functional model that returns probabilities (B, `num_classes`), in float32:

    | body | inputs | the vector h |
    |---|---|---|
    | `kt.models.bert` | `token_ids` (B, T), `[CLS] text [SEP]` | the pooler's output |
    | `kt.models.gpt` | `token_ids` (B, T), `[start; text; extract]` | state of the extract token |
    | `kt.models.vit` | `images` (B, height, width, channels) | state of the class token |

    The vector goes through dropout and a dense layer named `head`. The model shares its layers with
    `body`, so training it also trains `body`; freeze them with `kt.training.freeze`, or add
    adapters with `kt.training.enable_lora`. An existing head of `body`, such as the classifier of a
    ViT, is left out.

    As in GPT-1, a language model read at its extract token also trains as a language model:
    $L = L_{\text{labels}} + \lambda L_{\text{language model}}$. Call `compile` and `fit` with the
    labels as usual; `evaluate` reports only the loss of the labels.

    Args:
        body: A model from `kt.models.bert`, `gpt`, `vit`, `with_new_tokens` or
            `kt.pretrained.load`.
        num_classes: Number of classes.
        extract_id: Id of the token that ends each row of a language model, at its first occurrence
            in the row; None for the last id of the vocabulary.
        pooling: How the hidden states become one vector: "extract" (language models), "pooler"
            (the first token's state after BERT's layer `pooler`), or the "first", "last", "mean" or
            "max" of the real tokens; None for "extract" with a language model, otherwise "pooler"
            if `body` has one, else "first".
        segments: Whether to add the input `segment_ids` (B, T), for pairs of texts; otherwise all
            segment ids are 0.
        lm_weight: $\lambda$, the weight of the auxiliary language-model loss; 0 for none. None for
            0.5 with `pooling="extract"` and an output projection tied to the embedding, otherwise
            0.
        dropout: Dropout rate on the input of the head.
        initializer_stddev: Initial standard deviation of the head's kernel.
        name: Name of the model.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: If `body` is not one of these models, it does not support `pooling`, or an
            argument is out of range.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
        >>> bert = kt.models.bert(vocabulary_size=100, **size)
        >>> model = kt.models.classifier(bert, num_classes=3)
        >>> model.compile("adam", "sparse_categorical_crossentropy")
        >>> ids = np.array([[2, 5, 6, 3, 0, 0]])
        >>> history = model.fit({"token_ids": ids}, np.array([2]), verbose=0)
        >>> model.predict({"token_ids": ids}, verbose=0).shape
        (1, 3)
        >>> lm = kt.models.gpt(vocabulary_size=100, **size)
        >>> lm = kt.models.with_new_tokens(lm, 2)  # start: 100, extract: 101
        >>> model = kt.models.classifier(lm, num_classes=3)
        >>> model.predict({"token_ids": np.array([[100, 5, 6, 101]])}, verbose=0).shape
        (1, 3)

    See Also:
        `kt.models.regressor` predicts a number, `kt.models.token_classifier` a label for each
        token; `kt.models.sequence_classifier` is trained from nothing.

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", section 4.1; Radford et al. 2018, "Improving Language Understanding by
        Generative Pre-Training", sections 3.2 and 3.3.
    """
    check_positive(num_classes=num_classes)
    read = read_vector(body, extract_id, pooling, segments, lm_weight)
    drop, head = make_head(read.dtype_policy, num_classes, dropout, initializer_stddev)
    return head_model(body, read, softmax(head(drop(read.vector))), name)


def regressor(
    body: keras.Model,
    num_outputs: int = 1,
    extract_id: int | None = None,
    *,
    pooling: str | None = None,
    segments: bool = False,
    lm_weight: float | None = None,
    dropout: float = 0.1,
    initializer_stddev: float = 0.02,
    name: str = "regressor",
) -> keras.Model:
    """Adds a regression head to a pretrained model, for example to grade essays.

    Same as `classifier`, but the dense layer `head` returns numbers instead of probabilities.

    Args:
        body: A model, see `classifier`.
        num_outputs: Numbers per example.
        extract_id: Id of the token that ends each row of a language model, see `classifier`.
        pooling: How the hidden states become one vector, see `classifier`.
        segments: Whether to add the input `segment_ids` (B, T), for pairs of texts.
        lm_weight: Weight of the auxiliary language-model loss, see `classifier`.
        dropout: Dropout rate on the input of the head.
        initializer_stddev: Initial standard deviation of the head's kernel.
        name: Name of the model.

    Returns:
        A `keras.Model` that returns numbers (B, `num_outputs`), in float32.

    Raises:
        ValueError: As in `classifier`.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> bert = kt.models.bert(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> model = kt.models.regressor(bert)
        >>> model.compile("adam", "mean_squared_error")
        >>> model.predict({"token_ids": np.array([[2, 5, 6, 3]])}, verbose=0).shape
        (1, 1)

    Reference:
        Devlin et al. 2019, section 4.1 (STS-B, a similarity from 1 to 5).
    """
    check_positive(num_outputs=num_outputs)
    read = read_vector(body, extract_id, pooling, segments, lm_weight)
    drop, head = make_head(read.dtype_policy, num_outputs, dropout, initializer_stddev)
    in_float32 = keras.layers.Activation("linear", dtype="float32", name="numbers")
    return head_model(body, read, in_float32(head(drop(read.vector))), name)
