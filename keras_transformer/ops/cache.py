"""Key/value caches of a decoder, as plain tensors that are passed in and returned.

Shape letters: B batch, S key length, K key/value heads, H head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import backend, ops, tree

from keras_transformer.ops.arrays import to_tensors
from keras_transformer.ops.indices import same_type

Tensor = Any


class KVCache(NamedTuple):
    """The projected keys and values of one attention layer.

    Attributes:
        key: (B, K, S, H), heads first, so that a step reads each head contiguously.
        value: (B, K, S, H).

    Example:
        >>> import keras, keras_transformer as kt
        >>> attention = kt.layers.MultiHeadAttention(num_heads=2)
        >>> attention.build((None, None, 8))
        >>> attention.make_cache(keras.ops.ones((1, 5, 8))).key.shape
        (1, 2, 5, 4)
    """

    key: Tensor
    value: Tensor


class PositionedKVCache(NamedTuple):
    """Keys and values with their positions, for attention with relative positions.

    Slots are not positions: prompts of different lengths are padded before the generated tokens,
    and the hypotheses of a beam search are stored next to each other.

    Attributes:
        key: (B, K, S, H).
        value: (B, K, S, H).
        positions: Int (B, 1, S, 1), of the same rank as the others, so that it grows with them.

    Example:
        >>> import keras_transformer as kt
        >>> kt.ops.init_cache(2, 16, num_heads=4, head_dim=8, positioned=True).positions.shape
        (2, 1, 16, 1)
    """

    key: Tensor
    value: Tensor
    positions: Tensor


class DecoderCache(NamedTuple):
    """The cache of a decoder stack.

    Attributes:
        self_attention: A tuple with one entry per layer: a `KVCache` of the tokens so far or, for a
            recurrent unit instead of self-attention, its state (B, D). It changes at every step
            and belongs to one hypothesis.
        cross_attention: A tuple with one entry per layer, computed once from the encoded source and
            constant from then on. Empty without a source.

    Example:
        >>> import keras_transformer as kt
        >>> block = kt.layers.DecoderBlock(
        ...     num_heads=2, intermediate_dim=16, cross_attention=False)
        >>> decoder = kt.layers.TransformerDecoder(num_layers=3, block=block)
        >>> decoder.build((None, None, 8))
        >>> cache = decoder.initial_cache(batch_size=1, length=5)
        >>> len(cache.self_attention), len(cache.cross_attention)
        (3, 0)
    """

    self_attention: tuple
    cross_attention: tuple


def init_cache(
    batch_size: int,
    length: int,
    num_heads: int,
    head_dim: int,
    dtype: str = "float32",
    positioned: bool = False,
) -> KVCache | PositionedKVCache:
    """Creates an empty cache.

    Args:
        batch_size: B.
        length: S, the maximum number of positions.
        num_heads: K, the number of key/value heads.
        head_dim: H.
        dtype: The compute dtype of the layer.
        positioned: Whether to also store the positions of the keys.

    Returns:
        A `KVCache` of zeros, each (B, K, S, H), or a `PositionedKVCache`.

    Example:
        >>> import keras_transformer as kt
        >>> kt.ops.init_cache(2, 16, num_heads=4, head_dim=8).key.shape
        (2, 4, 16, 8)
    """
    shape = (batch_size, num_heads, length, head_dim)
    # Two tensors: with a shared one, in-place backends would overwrite the values with the keys.
    cache = KVCache(ops.zeros(shape, dtype=dtype), ops.zeros(shape, dtype=dtype))
    if not positioned:
        return cache
    return PositionedKVCache(*cache, ops.zeros((batch_size, 1, length, 1), dtype="int32"))


def update_cache(
    cache: KVCache | PositionedKVCache,
    key: Tensor,
    value: Tensor,
    index: int | Tensor,
    positions: Tensor | None = None,
) -> KVCache | PositionedKVCache:
    """Writes new keys and values starting at slot `index`.

    Args:
        cache: Each (B, K, S, H).
        key: (B, T, K, H).
        value: (B, T, K, H).
        index: First slot to write to, an int or a scalar integer tensor; `index + T <= S`.
        positions: Int (T,) or (B, T), the positions of the new keys in a `PositionedKVCache`; None
            for `index, index + 1, ...`.

    Returns:
        A new cache of the same class.

    Example:
        >>> import keras, keras_transformer as kt
        >>> cache = kt.ops.init_cache(1, 4, num_heads=1, head_dim=1)
        >>> new = keras.ops.ones((1, 2, 1, 1))
        >>> cache = kt.ops.update_cache(cache, new, new, index=1)
        >>> [int(key) for key in cache.key[0, 0, :, 0]]
        [0, 1, 1, 0]
    """
    cache = type(cache)(*to_tensors(*cache))
    key, value = _heads_first(key), _heads_first(value)
    slots = KVCache(_write(cache.key, key, index), _write(cache.value, value, index))
    if isinstance(cache, KVCache):
        return slots
    if positions is None:
        positions = ops.arange(ops.shape(key)[2], dtype="int32") + index
    positions = ops.zeros_like(key[:, :1, :, :1], dtype="int32") + _of_keys(positions)
    return PositionedKVCache(*slots, _write(cache.positions, positions, index))


def _of_keys(positions):
    """Reshapes (T,) or (B, T) to (1 or B, 1, T, 1)."""
    positions = ops.cast(positions, "int32")
    return ops.reshape(positions, (-1, 1, ops.shape(positions)[-1], 1))


def _heads_first(x):
    return ops.transpose(x, (0, 2, 1, 3))


def _write(slots, new, index):
    new = ops.cast(new, slots.dtype)
    if backend.backend() != "torch":
        return ops.slice_update(slots, same_type(0, 0, index, 0), new)
    # One operation, which decoding can run in place; `slice_update` takes twenty on torch.
    rows = ops.arange(new.shape[2], dtype="int64") + ops.convert_to_tensor(index, dtype="int64")
    return slots.index_copy(2, rows, new)


def as_cache(key: Tensor, value: Tensor) -> KVCache:
    """Creates a full cache from projected keys and values.

    Args:
        key: (B, S, K, H).
        value: (B, S, K, H).

    Returns:
        A `KVCache` with key and value of shape (B, K, S, H).

    Example:
        >>> import keras, keras_transformer as kt
        >>> key = keras.ops.ones((1, 5, 2, 4))
        >>> kt.ops.as_cache(key, key).key.shape
        (1, 2, 5, 4)
    """
    key, value = _heads_first(key), _heads_first(value)
    if backend.backend() == "torch":
        # The transposes are views: unless copied here, every step would copy them.
        key, value = key.contiguous(), value.contiguous()
    return KVCache(key, value)


def reorder_cache(cache: Any, indices: Tensor) -> Any:
    """Selects rows along the batch axis, as beam search does when it reorders hypotheses.

    Args:
        cache: Any nest of tensors with the batch axis first.
        indices: Int tensor (B,), the old row for each new row.

    Returns:
        A nest of the same structure.

    Example:
        >>> import keras, keras_transformer as kt
        >>> cache = {"key": keras.ops.convert_to_tensor([10, 20, 30])}
        >>> reordered = kt.ops.reorder_cache(cache, keras.ops.convert_to_tensor([2, 2, 0]))
        >>> [int(row) for row in reordered["key"]]
        [30, 30, 10]
    """
    return tree.map_structure(lambda leaf: ops.take(leaf, indices, axis=0), cache)
