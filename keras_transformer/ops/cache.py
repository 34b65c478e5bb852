"""Key and value caches of a decoder: plain tensors, handed in and handed back.

Shape letters: B batch, S key length, K key/value heads, H head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops, tree

Tensor = Any


class KVCache(NamedTuple):
    """The projected keys and values of one attention layer, each (B, S, K, H)."""

    key: Tensor
    value: Tensor


class DecoderCache(NamedTuple):
    """What a decoder stack remembers, a tuple over its layers.

    `self_attention` grows with every step and belongs to one hypothesis; `cross_attention` is made
    once from the encoded source (empty without one) and never changes.
    """

    self_attention: tuple
    cross_attention: tuple


def init_cache(
    batch_size: int, length: int, num_heads: int, head_dim: int, dtype: str = "float32"
) -> KVCache:
    """Makes an empty cache.

    Args:
        batch_size: B.
        length: S, the most positions that it can hold.
        num_heads: K, the number of key/value heads.
        head_dim: H.
        dtype: the compute dtype of the layer.

    Returns:
        A `KVCache` of zeros, each (B, S, K, H).

    Example:
        >>> import keras_transformer as kt
        >>> kt.ops.init_cache(2, 16, num_heads=4, head_dim=8).key.shape
        (2, 16, 4, 8)
    """
    shape = (batch_size, length, num_heads, head_dim)
    # Two tensors: in-place backends would write the keys over the values of a shared one.
    return KVCache(ops.zeros(shape, dtype=dtype), ops.zeros(shape, dtype=dtype))


def update_cache(cache: KVCache, key: Tensor, value: Tensor, index: int | Tensor) -> KVCache:
    """Writes new keys and values from slot `index` on.

    Args:
        cache: each (B, S, K, H).
        key: (B, T, K, H).
        value: (B, T, K, H).
        index: first slot to write, an int or a scalar integer tensor; `index + T <= S`.

    Returns:
        A new `KVCache`.
    """
    start = (0, index, 0, 0)
    return KVCache(
        ops.slice_update(cache.key, start, ops.cast(key, cache.key.dtype)),
        ops.slice_update(cache.value, start, ops.cast(value, cache.value.dtype)),
    )


def reorder_cache(cache: Any, indices: Tensor) -> Any:
    """Picks rows of the batch axis, as beam search does when hypotheses move.

    Args:
        cache: any nest of tensors with the batch axis first.
        indices: int tensor (B,), the row that each new row continues.

    Returns:
        A nest of the same structure.
    """
    return tree.map_structure(lambda leaf: ops.take(leaf, indices, axis=0), cache)
