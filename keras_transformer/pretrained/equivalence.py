"""Weight changes that preserve the outputs, for settings that a format cannot express.

Shape letters: D hidden.
"""

from __future__ import annotations

import numpy as np

# The kernels (D, ...) that read hidden states, and the parameters that write them.
_READING = ("query/kernel", "key/kernel", "value/kernel", "intermediate/kernel")
_WRITING = ("output/kernel", "output/bias", "gamma", "beta", "embeddings")


def permute_channels(arrays: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    """Permutes the D channels of all hidden states of a Transformer.

    Channel i of the new hidden states is channel `order[i]` of the old ones. Layer norms, residual
    connections and dot products are unaffected, and nothing changes inside attention and
    feed-forward networks, so that the outputs stay the same.

    Args:
        arrays: Weights by path: embeddings (V, D), attention and feed-forward kernels and biases,
            layer norms.
        order: A permutation, (D,).

    Returns:
        The weights of the new model.
    """

    def permuted(path, array):
        if path.endswith(_READING):
            return array[order]
        return array[..., order] if path.endswith(_WRITING) else array

    return {path: permuted(path, array) for path, array in arrays.items()}


def interleaved_to_concatenated(hidden_dim: int) -> np.ndarray:
    """Returns the channel order that puts all sines first: (0, 2, 4, ..., 1, 3, 5, ...)."""
    return np.concatenate([np.arange(0, hidden_dim, 2), np.arange(1, hidden_dim, 2)])


def scale_to_epsilon(
    arrays: dict[str, np.ndarray], stack: str, blocks: int, norms: tuple[str, ...], factor: float
) -> dict[str, np.ndarray]:
    """Rescales a post-LN stack for layer norms with `factor**2` times their epsilon.

    The output of a layer norm is unchanged if its input is multiplied by `factor` and its epsilon
    by `factor**2`. So all hidden states inside the stack are multiplied by `factor`, from the
    output of its first layer norm to the input of its last: the layer norms write larger values,
    and the kernels that read them are scaled down. Only the input of the first layer norm (the
    embeddings, with positions that cannot be scaled) stays the same, so only this norm is affected
    by the new epsilon.

    Args:
        arrays: Weights by path.
        stack: Name of the stack.
        blocks: Number of its blocks.
        norms: Sublayers of a block in order; the layer norm of "feed_forward" is
            "feed_forward_norm".
        factor: Factor of the hidden states.

    Returns:
        The weights of the new model.
    """
    arrays = dict(arrays)
    parts = [f"{stack}/block_{index}/{norm}" for index in range(blocks) for norm in norms]
    for part, following in zip(parts, parts[1:], strict=False):
        for name in ("gamma", "beta"):
            arrays[f"{part}_norm/{name}"] = arrays[f"{part}_norm/{name}"] * factor
        for path in [path for path in arrays if path.startswith(f"{following}/")]:
            # Keys and values of cross-attention read the other stack, whose output is unchanged.
            reads = ("query/kernel",) if following.endswith("cross_attention") else _READING
            if path.endswith(reads):
                arrays[path] = arrays[path] / factor
            elif path.endswith(("output/kernel", "output/bias")):
                arrays[path] = arrays[path] * factor
    return arrays
