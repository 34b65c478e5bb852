"""Construction and combination of attention masks.

Masks are boolean; True means "may attend" or "is a real token".

Shape letters: B batch, T query length, S key length, N heads.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from keras import backend, ops

from keras_transformer.ops.arrays import to_tensors
from keras_transformer.ops.relative import distances

Tensor = Any


def padding_mask(token_ids: Tensor, padding_id: int = 0) -> Tensor:
    """Padding mask: marks the real tokens of a padded batch.

    Args:
        token_ids: Int tensor (B, T).
        padding_id: The id of padding.

    Returns:
        A boolean tensor (B, T), True for real tokens.

    Example:
        >>> import keras_transformer as kt
        >>> kt.ops.padding_mask([[5, 7, 0]]).shape
        (1, 3)
    """
    return ops.not_equal(token_ids, padding_id)


def causal_mask(query_length: int, key_length: int, offset: int | Tensor = 0) -> Tensor:
    """Causal mask: hides future positions.

    Query `i` is at position `i + offset` and may attend to keys `0 .. i + offset`, so that a single
    query at the end of a cache sees the whole cache (with `is_causal` of the fused kernels, which
    is aligned to the top left, it would see only the first key).

    Args:
        query_length: T.
        key_length: S.
        offset: Position of the first query, an int or a scalar integer tensor.

    Returns:
        A boolean tensor (T, S).

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.2.3.

    Example:
        >>> import keras_transformer as kt
        >>> kt.ops.causal_mask(1, 4, offset=2).shape
        (1, 4)
    """
    queries = ops.arange(query_length, dtype="int32")[:, None] + ops.cast(offset, "int32")
    keys = ops.arange(key_length, dtype="int32")[None, :]
    return ops.less_equal(keys, queries)


def window_mask(query_positions: Tensor, key_positions: Tensor, window: int) -> Tensor:
    """Sliding-window mask: hides keys `window` or more positions away, on both sides.

    Args:
        query_positions: Int (T,) or (B, T).
        key_positions: Int (S,) or (B, S).
        window: Distance from which keys are hidden; with 1, a query sees only its own position.

    Returns:
        A boolean tensor (T, S) or (B, T, S).

    Reference:
        Child et al. 2019, "Generating Long Sequences with Sparse Transformers"; Beltagy et al.
        2020, "Longformer", section 3.1.

    Example:
        >>> import keras, keras_transformer as kt
        >>> mask = kt.ops.window_mask(keras.ops.arange(4), keras.ops.arange(4), window=2)
        >>> [bool(seen) for seen in mask[0]]
        [True, True, False, False]
    """
    return ops.less(ops.abs(distances(query_positions, key_positions)), window)


def packing_mask(segment_ids: Tensor) -> Tensor:
    """Block-diagonal mask: separates the sequences packed into one row.

    Args:
        segment_ids: Int tensor (B, T), the number of the sequence that each position belongs to,
            0 for padding.

    Returns:
        A boolean tensor (B, T, T), True where both positions are real and in the same sequence.

    Example:
        >>> import keras_transformer as kt
        >>> kt.ops.packing_mask([[1, 1, 2, 0]]).shape
        (1, 4, 4)
    """
    segment_ids = ops.convert_to_tensor(segment_ids)
    same = ops.equal(segment_ids[:, :, None], segment_ids[:, None, :])
    return ops.logical_and(same, ops.not_equal(segment_ids, 0)[:, :, None])


def combine_masks(
    padding_mask: Tensor | None = None,
    attention_mask: Tensor | None = None,
    causal: Tensor | None = None,
    window: Tensor | None = None,
) -> Tensor | None:
    """Combines masks by logical AND; None allows everything.

    Args:
        padding_mask: Boolean (B, S), True for real keys.
        attention_mask: Boolean (T, S), (B, T, S) or (B, N, T, S), True where a query may attend.
        causal: Boolean (T, S), from `causal_mask`.
        window: Boolean (T, S) or (B, T, S), from `window_mask`.

    Returns:
        A boolean tensor that broadcasts to (B, N, T, S), or None if all masks are None.

    Raises:
        ValueError: if a mask is not boolean or has the wrong rank.

    Example:
        >>> import keras_transformer as kt
        >>> causal = kt.ops.causal_mask(3, 3)
        >>> kt.ops.combine_masks(kt.ops.padding_mask([[4, 5, 0]]), causal=causal).shape
        (1, 1, 3, 3)
    """
    padding_mask, attention_mask, causal, window = to_tensors(
        padding_mask, attention_mask, causal, window
    )
    masks = []
    if padding_mask is not None:
        check_mask("padding_mask", padding_mask, ranks=(2,))
        masks.append(padding_mask[:, None, None, :])
    if attention_mask is not None:
        check_mask("attention_mask", attention_mask, ranks=(2, 3, 4))
        leading = {2: (None, None), 3: (slice(None), None), 4: ()}[len(attention_mask.shape)]
        masks.append(attention_mask[leading] if leading else attention_mask)
    if causal is not None:
        masks.append(causal[None, None])
    if window is not None:
        masks.append(window[None, None] if len(window.shape) == 2 else window[:, None])
    return join_masks(masks)


def join_masks(masks: Iterable[Tensor | None]) -> Tensor | None:
    """Combines masks by logical AND, with broadcasting; None if all of them are None."""
    masks = [mask for mask in masks if mask is not None]
    return functools.reduce(ops.logical_and, masks) if masks else None


def check_mask(name: str, mask: Tensor, ranks: tuple[int, ...]) -> None:
    """Raises a ValueError unless a mask is boolean and has one of the given ranks.

    Numbers are rejected because their polarity is ambiguous: 1 means "attend" in some libraries and
    "ignore" in others, and a wrong guess trains a model that sees the future.
    """
    dtype = backend.standardize_dtype(mask.dtype)
    if dtype != "bool":
        raise ValueError(
            f"`{name}` must be boolean, True where attention is allowed. Received: dtype={dtype}."
        )
    if len(mask.shape) not in ranks:
        expected = " or ".join(str(rank) for rank in ranks)
        raise ValueError(
            f"`{name}` must have rank {expected}. Received: shape={tuple(mask.shape)}."
        )


def first_mask(*masks: Tensor | None) -> Tensor | None:
    """Returns the first mask that is not None, or None.

    Keras passes a layer the implicit mask of its input as `mask` if the input is its only tensor,
    and otherwise as `<argument>_mask`; an explicit `padding_mask` takes precedence over both.
    """
    return next((mask for mask in masks if mask is not None), None)


def target_mask(padding_mask: Tensor | None, cache: Any, *implicit: Tensor | None) -> Tensor | None:
    """Returns the padding mask of a decoder's own sequence.

    With a cache, the keys are its slots, which the implicit mask of the new tokens does not cover:
    only an explicit `padding_mask` over the slots is used.
    """
    return first_mask(padding_mask, *(implicit if cache is None else ()))


def real_tokens(*masks: Tensor | None) -> Tensor | None:
    """Returns the first padding mask (B, T) that is not None, after checking it.

    Raises:
        ValueError: if the mask is not boolean or has the wrong rank.
    """
    mask = first_mask(*masks)
    if mask is not None:
        check_mask("padding_mask", mask, ranks=(2,))
    return mask


def new_tokens_mask(
    padding_mask: Tensor | None,
    cache: Any,
    cache_index: Tensor | int | None,
    length: Any,
    *implicit: Tensor | None,
) -> Tensor | None:
    """Returns the padding mask of the new tokens that a recurrent layer reads.

    Args:
        padding_mask: Boolean (B, T); with a cache (B, L), over all positions.
        cache: The state that the layer continues, or None.
        cache_index: The position of the first new token, with a cache; None for 0.
        length: T, the number of new tokens.
        *implicit: The implicit Keras masks of the new tokens, used only without a cache.

    Returns:
        Boolean (B, T), or None without a mask.

    Raises:
        ValueError: if a mask is not boolean or has the wrong rank.
    """
    real = real_tokens(target_mask(padding_mask, cache, *implicit))
    if real is None or cache is None:
        return real
    positions = ops.arange(length, dtype="int32") + (0 if cache_index is None else cache_index)
    return ops.take(real, positions, axis=1)
