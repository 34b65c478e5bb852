"""Other weights for the same outputs: what a format cannot say is moved into the weights.

Shape letters: D hidden.
"""

from __future__ import annotations

import numpy as np

# The kernels (D, ...) that read hidden states, and the parameters that write them.
_READING = ("query/kernel", "key/kernel", "value/kernel", "intermediate/kernel")
_WRITING = ("output/kernel", "output/bias", "gamma", "beta", "embeddings")


def permute_channels(arrays: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    """Reorders the D channels of all hidden states of a Transformer.

    Channel i of the new hidden states is channel `order[i]` of the old ones. Layer norms, residual
    connections and products do not mind, and inside of attentions and feed-forward networks nothing
    changes, so that the outputs are the same.

    Args:
        arrays: the weights by path: embeddings (V, D), attention and feed-forward kernels and
            biases, layer norms.
        order: (D,), a permutation.

    Returns:
        The weights of the new model.
    """

    def permuted(path, array):
        if path.endswith(_READING):
            return array[order]
        return array[..., order] if path.endswith(_WRITING) else array

    return {path: permuted(path, array) for path, array in arrays.items()}


def interleaved_to_concatenated(hidden_dim: int) -> np.ndarray:
    """The order of channels that puts all sines first: (0, 2, 4, ..., 1, 3, 5, ...)."""
    return np.concatenate([np.arange(0, hidden_dim, 2), np.arange(1, hidden_dim, 2)])


def scale_to_epsilon(
    arrays: dict[str, np.ndarray], stack: str, blocks: int, norms: tuple[str, ...], factor: float
) -> dict[str, np.ndarray]:
    """Lets the layer norms of a post-LN stack have `factor**2` times their epsilon.

    A layer norm does not change if its input is multiplied by `factor` and its epsilon by
    `factor**2`. So all hidden states inside of the stack are multiplied, from the output of its
    first layer norm to the input of its last: there the layer norms write larger values, and what
    reads them is made smaller. Only what stands in front of the first layer norm (the embeddings,
    with positions that cannot be multiplied) stays, and that one norm has the other epsilon.

    Args:
        arrays: the weights by path.
        stack: the name of the stack.
        blocks: the number of its blocks.
        norms: the sub-layers of a block in their order: the layer norm of "feed_forward" is
            "feed_forward_norm".
        factor: what the hidden states are multiplied by.

    Returns:
        The weights of the new model.
    """
    arrays = dict(arrays)
    parts = [f"{stack}/block_{index}/{norm}" for index in range(blocks) for norm in norms]
    for part, following in zip(parts, parts[1:], strict=False):
        for name in ("gamma", "beta"):
            arrays[f"{part}_norm/{name}"] = arrays[f"{part}_norm/{name}"] * factor
        for path in [path for path in arrays if path.startswith(f"{following}/")]:
            # Keys and values of a cross-attention read the other stack, whose output stays.
            reads = ("query/kernel",) if following.endswith("cross_attention") else _READING
            if path.endswith(reads):
                arrays[path] = arrays[path] / factor
            elif path.endswith(("output/kernel", "output/bias")):
                arrays[path] = arrays[path] * factor
    return arrays
