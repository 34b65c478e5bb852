"""The initial standard deviation of the weights of GPT, BERT and ViT."""

from __future__ import annotations

import math

from keras_transformer.checks import check_above

# GPT-1 and BERT initialize from N(0, 0.02) at this width.
_STDDEV, _WIDTH = 0.02, 768


def initial_stddev(initializer_stddev: float | None, hidden_dim: int) -> float:
    """Returns the initial standard deviation of kernels and embeddings.

    Each output of a kernel is a sum of `hidden_dim` terms. With 0.02 in a narrow model, attention
    scores are therefore so small that attention learns nothing for hundreds of batches.

    Args:
        initializer_stddev: The caller's argument; None for the papers' 0.02 at their width of 768,
            scaled in proportion to 1 / sqrt(width).
        hidden_dim: The width of the model.

    Returns:
        A positive float.

    Raises:
        ValueError: If `initializer_stddev` is not a positive number.
    """
    if initializer_stddev is None:
        return _STDDEV * math.sqrt(_WIDTH / hidden_dim)
    check_above(0, initializer_stddev=initializer_stddev)
    return initializer_stddev
