"""The base class of the encoder and decoder stacks.

Shape letters: B batch, T length, N heads, D hidden.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_transformer.checks import check_flag, check_positive, check_rate
from keras_transformer.layers.block import attends_to_source
from keras_transformer.layers.dropout_layer import Dropout
from keras_transformer.layers.layer import Layer
from keras_transformer.layers.outputs import take_output
from keras_transformer.layers.position_arguments import relative_positions_shared
from keras_transformer.layers.rematerialization import call_block
from keras_transformer.layers.serialization import get_layer, serialize
from keras_transformer.layers.shared_layers import take_layer, without_object_ids

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_transformer")
class Stack(Layer):
    """Base class of the encoder and the decoder stack: positions, blocks and a final norm."""

    unread_attributes = ("block",)  # calls run copies of it

    def __init__(
        self,
        num_layers: int,
        block: keras.layers.Layer | Sequence[keras.layers.Layer],
        positional_encoding: Any,
        input_dropout: float,
        rematerialize: bool,
        share_relative_positions: bool,
        **kwargs: Any,
    ):
        prototypes = _prototypes(block)
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = prototypes[0].dtype_policy
        super().__init__(**kwargs)
        check_positive(num_layers=num_layers)
        check_rate(input_dropout=input_dropout)
        check_flag(rematerialize=rematerialize, share_relative_positions=share_relative_positions)
        self.num_layers = num_layers
        # Not an attribute: Keras would track prototypes, which are never built, as sublayers.
        self.__dict__["block"] = prototypes if isinstance(block, (list, tuple)) else prototypes[0]
        self.positional_encoding = take_layer(positional_encoding, owner=self)
        self.input_dropout = input_dropout
        self.rematerialize = rematerialize
        self.share_relative_positions = share_relative_positions
        self.supports_masking = True
        with relative_positions_shared(share_relative_positions):
            self.blocks = [
                _clone(prototypes[index % len(prototypes)], f"block_{index}", self.dtype_policy)
                for index in range(num_layers)
            ]
        if share_relative_positions:
            _check_sharing(self.blocks)
        self.input_dropout_layer = Dropout(
            input_dropout, dtype=self.dtype_policy, name="input_dropout"
        )
        last = self.blocks[-1]
        # Otherwise the output of pre-LN blocks would not be normalized.
        self.final_norm = (
            last.make_norm("final_norm") if getattr(last, "normalize_first", False) else None
        )

    def _embed_positions(self, inputs, positions, training):
        x = inputs
        if self.positional_encoding is not None:
            x = self.positional_encoding(x, positions)
        return self.input_dropout_layer(x, training=training)

    def _run_blocks(
        self,
        x: Tensor,
        sources: Sequence[Tensor | None],
        rematerialize: bool | None,
        arguments: dict[str, Any],
        caches: Sequence[dict[str, Any]] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Runs the blocks and the final norm.

        Args:
            x: (B, T, D).
            sources: The encoded source (B, S, D') or None, for blocks with cross-attention; empty
                in encoders.
            rematerialize: Whether to recompute each block in the backward pass.
            arguments: Other arguments of all blocks. Those that are None or False are omitted, so
                a custom block need not accept them; `positions` is only passed to blocks that do.
            caches: Other arguments of the individual blocks.

        Returns:
            (B, T, D), and a dict with tuples of the blocks' other outputs.
        """
        given = {k: v for k, v in arguments.items() if v is not None and v is not False}
        given.pop("positions", None)
        # Unlike the others, `training` is also passed if it is None or False.
        given["training"] = arguments["training"]
        extras: dict[str, Any] = {}
        for index, block in enumerate(self.blocks):
            own = {} if caches is None else caches[index]
            if takes(block, "positions"):
                own = {**own, "positions": arguments["positions"]}
            inputs = (x, *(sources if attends_to_source(block) else ()))
            result = call_block(block, *inputs, rematerialize=rematerialize, **given, **own)
            gathered: dict[str, Any] = {}
            x = take_output(result, gathered)
            for key, value in gathered.items():
                extras[key] = (*extras.get(key, ()), value)
        if self.final_norm is not None:
            x = self.final_norm(x)
        return x, extras


def takes(block: keras.layers.Layer, argument: str) -> bool:
    """Whether the call of a block has an argument of this name."""
    return argument in _parameters(type(block).call)


@functools.cache
def _parameters(call: Callable) -> frozenset[str]:
    return frozenset(inspect.signature(call).parameters)


def build_block(block: keras.layers.Layer, *shapes: tuple | None) -> None:
    """Builds a block, unless its class has no `build` and is built by its first call."""
    if not block.built and type(block).build is not keras.layers.Layer.build:
        block.build(*shapes)


def _prototypes(block):
    if isinstance(block, (list, tuple)):
        prototypes = [get_layer(one) for one in block]
    else:
        prototypes = [get_layer(block)]
    if not prototypes or not all(isinstance(one, keras.layers.Layer) for one in prototypes):
        raise ValueError(
            "`block` must be a layer such as TransformerEncoderBlock or DecoderBlock, or a list of "
            f"such layers. Received: block={block!r}."
        )
    return prototypes


def _check_sharing(blocks):
    """Raises a ValueError unless all blocks have the same kind of relative positions."""
    names = ("relative_positions", "num_heads", "causal")
    kinds = [
        {name: without_object_ids(serialize(getattr(block, name, None))) for name in names}
        for block in blocks
    ]
    others = [kind for kind in kinds if kind != kinds[0] or kind["relative_positions"] is None]
    if others:
        raise ValueError(
            "`share_relative_positions` must be False unless all blocks have the same "
            "`relative_positions`, `num_heads` and `causal`. Received: share_relative_positions="
            f"True, and blocks with {kinds[0]} and {others[0]}."
        )


def _clone(prototype, name, dtype):
    config = {**prototype.get_config(), "name": name, "dtype": dtype}
    block = type(prototype).from_config(config)
    # The stack passes masks explicitly, so Keras must not warn that a block ignores implicit ones.
    block.supports_masking = True
    return block
