"""The spread that the weights of GPT, BERT and ViT start with."""

from __future__ import annotations

import math

# GPT-1 and BERT start from N(0, 0.02), at this width.
_STDDEV, _WIDTH = 0.02, 768


def initial_stddev(initializer_stddev: float | None, hidden_dim: int) -> float:
    """Chooses the standard deviation of kernels and embeddings at the start.

    A product with a kernel adds up as many terms as the model is wide. With 0.02 in a narrow model
    queries and keys hardly meet: for hundreds of batches attention does not get started.

    Args:
        initializer_stddev: what the user gave; None for the papers' 0.02 at their width of 768,
            and in proportion to 1 / sqrt(width) at others.
        hidden_dim: the width of the model.

    Returns:
        A positive float.

    Raises:
        ValueError: `initializer_stddev` is not a positive number.
    """
    if initializer_stddev is None:
        return _STDDEV * math.sqrt(_WIDTH / hidden_dim)
    if not (math.isfinite(initializer_stddev) and initializer_stddev > 0):
        raise ValueError(
            "`initializer_stddev` must be a positive number. "
            f"Received: initializer_stddev={initializer_stddev!r}"
        )
    return initializer_stddev
