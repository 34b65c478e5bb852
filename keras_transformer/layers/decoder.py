"""The decoder stack, with its cache.

Shape letters: B batch, T target length, S source length, L cache slots, N heads, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_flag
from keras_transformer.layers.block import attends_to_source, check_source
from keras_transformer.layers.outputs import make_output
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.layers.stack import Stack, build_block, takes
from keras_transformer.ops.cache import DecoderCache
from keras_transformer.ops.masks import first_mask, target_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TransformerDecoder(Stack):
    """Transformer decoder: a stack of decoder blocks, with optional positions on its input.

    The same `call` serves training, prefill and single decoding steps: with a cache, it continues
    the cached sequence. The block is a prototype, see `TransformerEncoder`.

    Args:
        num_layers: Number of blocks.
        block: The block to repeat, such as `DecoderBlock(num_heads=8, intermediate_dim=2048)`, or a
            list of blocks to alternate. A custom block is a Keras layer whose call takes `inputs`
            (B, T, D), then `encoded` unless its attribute `cross_attention` is False, and, as
            keyword arguments, the arguments of `DecoderBlock.call` that are passed to the stack.
            For decoding, it needs a method `initial_cache(batch_size, length)`, and its call takes
            the `cache` and returns a dict of `output` and the updated `cache`; with
            cross-attention, it also needs `make_cross_cache(encoded)` for the `cross_cache`.
        positional_encoding: A layer that adds positions to the input, such as
            `PositionalEncoding()` or `LearnedPositionalEmbedding(512)`, or None.
        input_dropout: Dropout rate on the input, after the positions.
        start_is_padding: Whether the first token is real even though the implicit mask hides it:
            Marian starts each target with the padding id.
        rematerialize: Whether to recompute each block in the backward pass (gradient
            checkpointing): less memory, more time, the same results. Ignored in calls with a cache
            and in calls that return attention weights.
        share_relative_positions: Whether all blocks share the relative positions of the first, as
            in T5; otherwise each has its own.
        dtype: Dtype policy of the stack and all its parts; by default that of `block`.

    Raises:
        ValueError: If an argument is out of range, `block` is not a layer, or different blocks are
            to share relative positions.

    Example:
        >>> import keras, keras_transformer as kt
        >>> decoder = kt.layers.TransformerDecoder(
        ...     num_layers=2,
        ...     block=kt.layers.DecoderBlock(
        ...         num_heads=2, intermediate_dim=32, cross_attention=False))
        >>> full = decoder(keras.ops.ones((2, 5, 8)))
        >>> cache = decoder.initial_cache(batch_size=2, length=5)
        >>> result = decoder(keras.ops.ones((2, 3, 8)), cache=cache, cache_index=0)
        >>> result = decoder(keras.ops.ones((2, 2, 8)), cache=result["cache"], cache_index=3)
        >>> bool(keras.ops.all(keras.ops.abs(result["output"] - full[:, 3:]) < 1e-5))
        True

    See Also:
        `kt.layers.TransformerEncoder`; `kt.models.gpt` and `kt.models.transformer`, which are built
        around it; `kt.decoding.generate`, which handles its cache.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1.
    """

    def __init__(
        self,
        num_layers: int,
        block: keras.layers.Layer | Sequence[keras.layers.Layer],
        positional_encoding: Any = None,
        input_dropout: float = 0.0,
        start_is_padding: bool = False,
        rematerialize: bool = False,
        share_relative_positions: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            num_layers,
            block,
            positional_encoding,
            input_dropout,
            rematerialize,
            share_relative_positions,
            **kwargs,
        )
        check_flag(start_is_padding=start_is_padding)
        self.start_is_padding = start_is_padding

    def build(self, inputs_shape: tuple, encoded_shape: tuple | None = None) -> None:
        for block in self.blocks:
            shapes = (encoded_shape,) if attends_to_source(block) else ()
            build_block(block, inputs_shape, *shapes)
        for sublayer in (self.positional_encoding, self.final_norm):
            # Positions shared by two stacks may already be built.
            if sublayer is not None:
                build_block(sublayer, inputs_shape)

    def compute_output_shape(
        self, inputs_shape: tuple, encoded_shape: tuple | None = None
    ) -> tuple:
        return inputs_shape

    @property
    def shares_slots(self) -> bool:
        """Whether the cache holds one slot per position, see `kt.decoding.DecodingModel`."""
        return all(
            getattr(block, "shares_slots", takes(block, "attention_mask")) for block in self.blocks
        )

    def initial_cache(
        self,
        batch_size: int,
        length: int,
        encoded: Tensor | None = None,
        encoded_padding_mask: Tensor | None = None,
    ) -> DecoderCache:
        """Creates the cache for the first cached call.

        Args:
            batch_size: B.
            length: L, the number of slots.
            encoded: (B, S, D'), the encoded source; its keys and values are computed here, once.
            encoded_padding_mask: Boolean (B, S), True for real source tokens. Used only by
                recurrent decoders.

        Returns:
            A `DecoderCache`.
        """
        self._check_source(encoded is not None)
        if encoded is not None:
            encoded = ops.cast(encoded, self.compute_dtype)
        return DecoderCache(
            tuple(block.initial_cache(batch_size, length) for block in self.blocks),
            tuple(
                block.make_cross_cache(encoded) if attends_to_source(block) else None
                for block in self.blocks
            )
            if encoded is not None
            else (),
        )

    def call(
        self,
        inputs: Tensor,
        encoded: Tensor | None = None,
        padding_mask: Tensor | None = None,
        encoded_padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: DecoderCache | None = None,
        cache_index: Tensor | int | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
        encoded_mask: Tensor | None = None,
    ) -> Any:
        """Runs the stack.

        Args:
            inputs: (B, T, D).
            encoded: (B, S, D'), the encoded source; not needed with a cache that holds it.
            padding_mask: Boolean (B, T), True for real target tokens; with a cache (B, L).
            encoded_padding_mask: Boolean (B, S), True for real source tokens.
            attention_mask: Boolean (T, T), (B, T, T) or (B, N, T, T), True if a query may attend;
                combined with the causal mask.
            positions: Int (T,) or (B, T), the position of each token; by default they count up
                from `cache_index`.
            cache: A `DecoderCache` to continue.
            cache_index: First cache slot that `inputs` fills; by default 0.
            return_attention_scores: Whether to also return the attention weights.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.
            encoded_mask: Implicit Keras mask of `encoded`, passed by Keras.

        Returns:
            (B, T, D), or a dict of `output` and, as requested, the updated `cache` and two tuples
            over the blocks: `attention_scores`, each (B, N, T, T or L), and
            `cross_attention_scores`, each (B, N, T, S).
        """
        check_hidden("inputs", inputs)
        if cache is not None and positions is None:
            start = 0 if cache_index is None else cache_index
            positions = ops.arange(ops.shape(inputs)[1], dtype="int32") + start
        self._check_source(encoded is not None or bool(cache and cache.cross_attention))
        x = self._embed_positions(inputs, positions, training)
        arguments = {
            "padding_mask": target_mask(padding_mask, cache, *self._unhidden(mask, inputs_mask)),
            "encoded_padding_mask": first_mask(encoded_padding_mask, encoded_mask),
            "attention_mask": attention_mask,
            "positions": positions,
            "cache_index": cache_index,
            "return_attention_scores": return_attention_scores,
            "training": training,
        }
        again = self.rematerialize and training and cache is None and not return_attention_scores
        x, extras = self._run_blocks(x, (encoded,), again, arguments, self._caches(cache))
        if cache is not None:
            extras["cache"] = DecoderCache(extras["cache"], cache.cross_attention)
        return make_output(x, extras)

    def _caches(self, cache):
        """The cache arguments for each block."""
        if cache is None:
            return None
        cross = cache.cross_attention or (None,) * self.num_layers
        return [
            {"cache": own} if source is None else {"cache": own, "cross_cache": source}
            for own, source in zip(cache.self_attention, cross, strict=True)
        ]

    def _check_source(self, has_source):
        check_source(any(map(attends_to_source, self.blocks)), has_source)

    def _unhidden(self, *masks):
        """Implicit masks (B, T), with the first position unmasked if `start_is_padding`."""
        if not self.start_is_padding:
            return masks
        return [
            None if mask is None else ops.logical_or(mask, ops.arange(ops.shape(mask)[1]) == 0)
            for mask in masks
        ]
