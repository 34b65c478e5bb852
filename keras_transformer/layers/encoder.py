"""The encoder stack.

Shape letters: B batch, T length, N heads, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_transformer.layers.outputs import make_output
from keras_transformer.layers.shape_checks import check_hidden
from keras_transformer.layers.stack import Stack, build_block
from keras_transformer.ops.masks import first_mask

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class TransformerEncoder(Stack):
    """Transformer encoder: a stack of encoder blocks, with optional positions on its input.

    The block is a prototype: the stack creates `num_layers` layers from its config, each with its
    own weights and random seeds. Stacks of pre-LN blocks end with a final norm.

    Args:
        num_layers: Number of blocks.
        block: The block to repeat, such as `TransformerEncoderBlock(num_heads=8,
            intermediate_dim=2048)`, or a list of blocks to alternate. A custom block is a Keras
            layer whose call takes `inputs` (B, T, D) and, as keyword arguments, those that are
            passed to the stack: `padding_mask`, `attention_mask`, `return_attention_scores` and,
            optionally, `positions` and `training`.
        positional_encoding: A layer that adds positions to the input, such as
            `PositionalEncoding()` or `LearnedPositionalEmbedding(512)`, or None.
        input_dropout: Dropout rate on the input, after the positions.
        rematerialize: Whether to recompute each block in the backward pass (gradient
            checkpointing): less memory, more time, the same results. Ignored in calls that return
            attention weights.
        share_relative_positions: Whether all blocks share the relative positions of the first, as
            in T5; otherwise each has its own.
        dtype: Dtype policy of the stack and all its parts; by default that of `block`.

    Raises:
        ValueError: If an argument is out of range, `block` is not a layer, or different blocks are
            to share relative positions.

    Example:
        >>> import keras, keras_transformer as kt
        >>> encoder = kt.layers.TransformerEncoder(
        ...     num_layers=2,
        ...     block=kt.layers.TransformerEncoderBlock(num_heads=2, intermediate_dim=32),
        ...     positional_encoding=kt.layers.PositionalEncoding())
        >>> encoder(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)

    See Also:
        `kt.layers.TransformerDecoder`; `kt.models.bert` and `kt.models.transformer`, which are
        built around it.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", section 3.1.
    """

    def __init__(
        self,
        num_layers: int,
        block: keras.layers.Layer | Sequence[keras.layers.Layer],
        positional_encoding: Any = None,
        input_dropout: float = 0.0,
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

    def build(self, inputs_shape: tuple) -> None:
        for sublayer in (self.positional_encoding, *self.blocks, self.final_norm):
            # Positions shared by two stacks may already be built.
            if sublayer is not None:
                build_block(sublayer, inputs_shape)

    def compute_output_shape(self, inputs_shape: tuple) -> tuple:
        return inputs_shape

    def call(
        self,
        inputs: Tensor,
        padding_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        mask: Tensor | None = None,
        inputs_mask: Tensor | None = None,
    ) -> Any:
        """Runs the stack.

        Args:
            inputs: (B, T, D).
            padding_mask: Boolean (B, T), True for real tokens.
            attention_mask: Boolean (T, T), (B, T, T) or (B, N, T, T), True if a query may attend.
            positions: Int (T,) or (B, T), the position of each token; by default 0 .. T - 1.
            return_attention_scores: Whether to also return the attention weights.
            training: Whether dropout is active.
            mask: Implicit Keras mask of `inputs`, passed by Keras.
            inputs_mask: Same as `mask`.

        Returns:
            (B, T, D), or a dict of `output` and `attention_scores`, a tuple over the blocks, each
            (B, N, T, T).
        """
        check_hidden("inputs", inputs)
        arguments = {
            "padding_mask": first_mask(padding_mask, mask, inputs_mask),
            "attention_mask": attention_mask,
            "positions": positions,
            "return_attention_scores": return_attention_scores,
            "training": training,
        }
        x = self._embed_positions(inputs, positions, training)
        again = self.rematerialize and training and not return_attention_scores
        return make_output(*self._run_blocks(x, (), again, arguments))
