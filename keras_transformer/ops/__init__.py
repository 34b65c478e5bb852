"""Pure functions: masks, attention and caches."""

from keras_transformer.ops.cache import (
    DecoderCache,
    KVCache,
    PositionedKVCache,
    as_cache,
    init_cache,
    reorder_cache,
    update_cache,
)
from keras_transformer.ops.masks import (
    causal_mask,
    combine_masks,
    packing_mask,
    padding_mask,
    window_mask,
)
from keras_transformer.ops.scaled_dot_product import dot_product_attention

__all__ = [
    "DecoderCache",
    "KVCache",
    "PositionedKVCache",
    "as_cache",
    "causal_mask",
    "combine_masks",
    "dot_product_attention",
    "init_cache",
    "packing_mask",
    "padding_mask",
    "reorder_cache",
    "update_cache",
    "window_mask",
]
