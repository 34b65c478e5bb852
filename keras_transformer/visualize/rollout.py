"""Attention rollout: attention traced through the layers, including residual connections.

Shape letters: T length, N heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check, check_share
from keras_transformer.visualize.attention_scores import attentions_of
from keras_transformer.visualize.figures import Figure
from keras_transformer.visualize.subjects import make_subject


def attention_rollout(
    model: Any,
    inputs: Any,
    *,
    kind: str | None = None,
    attention_share: float = 0.5,
    tokens: Any = None,
    row: int = 0,
) -> Figure:
    r"""Traces self-attention from the last layer down to the tokens.

    $R_l = (a \bar A_l + (1 - a) I) R_{l-1}$, where $\bar A_l$ is the mean over the heads of layer
    l, the identity represents the residual connection, and a is `attention_share`. Rows sum to 1.
    Cross-attention has no rollout: its residual connection stays in the target sequence, so mixing
    in an identity would be meaningless.

    Args:
        model: As in `plot_attention`.
        inputs: As in `plot_attention`.
        kind: "encoder_self_attention" or "decoder_self_attention"; None for the first that the
            model has.
        attention_share: a, in (0, 1]; the paper uses 0.5.
        tokens: As in `plot_attention`.
        row: Which row of the batch.

    Returns:
        A `Figure` of the rollout through all layers; `data["layers"]` holds the rollout up to each
        layer, (T, T).

    Raises:
        ValueError: If the model has no self-attention, or `kind` is not a self-attention.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> figure = kt.visualize.attention_rollout(model, {"token_ids": [[5, 6, 7]]})
        >>> figure.data["layers"][-1].sum(axis=-1).round(3).tolist()
        [1.0, 1.0, 1.0]

    Reference:
        Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3.
    """
    check_share(attention_share=attention_share)
    if kind is not None:
        check(kind.endswith("self_attention"), "be a self-attention", "kind", kind)
    found = attentions_of(make_subject(model, inputs, tokens, row), kind)
    found = [one for one in found if one.kind.endswith("self_attention")]
    check(bool(found), "have self-attention", "model", getattr(model, "name", model))
    attention = found[0]
    layers = rollout(attention.weights, attention_share)
    matrix = {
        "title": "",
        **attention.axes,
        "values": layers[-1],
        "column_name": "input",
    }
    title = f"Attention rollout of the {attention.name}, {len(layers)} layers"
    note = f"The mean over heads has a share of {attention_share:g}, the residual has the rest."
    return Figure(title, "matrices", {"matrices": [matrix], "layers": layers}, [note])


def rollout(weights: Sequence[np.ndarray], attention_share: float = 0.5) -> list[np.ndarray]:
    """Computes the rollout up to each layer, (T, T), of weights (N, T, T)."""
    layers: list[np.ndarray] = []
    for array in weights:
        identity = np.eye(array.shape[-1], dtype="float64")
        mixed = attention_share * array.mean(axis=0, dtype="float64")
        mixed = mixed + (1.0 - attention_share) * identity
        # A row that attends to nothing keeps only its residual.
        totals = mixed.sum(axis=-1, keepdims=True)
        mixed = np.divide(mixed, totals, where=totals > 0, out=identity.copy())
        layers.append(mixed @ layers[-1] if layers else mixed)
    return [layer.astype("float32") for layer in layers]
