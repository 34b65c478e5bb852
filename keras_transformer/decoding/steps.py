"""The prefill and the cached decoding step shared by greedy decoding, sampling and beam search.

Shape letters: B batch, R rows (B times hypotheses per prompt), P prompt width, L capacity for new
tokens, S source length, D hidden, K heads, H head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops, tree

from keras_transformer.decoding.decoding_model import DecodingModel
from keras_transformer.ops.cache import DecoderCache

Tensor = Any


class Context(NamedTuple):
    """The constants of a batch while it is decoded.

    Attributes:
        prompt_mask: boolean (R, P), True for prompt tokens that can be attended to.
        prompt_lengths: int (R,), the number of tokens of each prompt, including masked ones.
        source_mask: boolean (B, S), False for source padding; an empty tuple without a source.
        cross_cache: The keys and values of the encoded sources, one row per source, shared by its
            hypotheses.
    """

    prompt_mask: Tensor
    prompt_lengths: Tensor
    source_mask: Tensor
    cross_cache: tuple

    @property
    def width(self) -> Any:
        """P, the number of cache slots occupied by the prompts."""
        return ops.shape(self.prompt_mask)[1]

    def source(self) -> dict[str, Tensor]:
        """Returns the decoder's keyword argument for the padding of the source, if any."""
        has_source = not isinstance(self.source_mask, tuple)
        return {"encoded_padding_mask": self.source_mask} if has_source else {}


def prefill(
    parts: DecodingModel,
    prompt_ids: Tensor,
    prompt_mask: Tensor,
    lengths: Tensor,
    room: Any,
    repeats: int = 1,
    source_ids: Tensor | None = None,
    source_mask: Tensor | None = None,
) -> tuple[Tensor, tuple, Context]:
    """Runs the model on the prompts, each token once.

    Args:
        parts: The model's parts.
        prompt_ids: int (B, P), padded on the right.
        prompt_mask: boolean (B, P), False for padding.
        lengths: int (B,), the number of tokens of each prompt, including masked ones.
        room: L, the number of cache slots for new tokens.
        repeats: R / B, the number of hypotheses per prompt.
        source_ids: int (B, S); None for a language model.
        source_mask: boolean (B, S), False for padding; None for a language model.

    Returns:
        The hidden states (R, 1, D) from which the first new tokens are predicted, the
        self-attention cache with R rows, and the context.
    """
    batch, width = ops.shape(prompt_ids)[:2]
    encoded = None if source_ids is None else parts.encode(source_ids, source_mask)
    cache = parts.decoder.initial_cache(batch, width, encoded, source_mask)
    context = Context(
        prompt_mask, lengths, () if source_mask is None else source_mask, cache.cross_attention
    )
    result = parts.decode(
        prompt_ids, cache=cache, cache_index=0, padding_mask=prompt_mask, **context.source()
    )
    last = ops.take_along_axis(result["output"], (lengths - 1)[:, None, None], axis=1)
    context = context._replace(
        prompt_mask=repeat(prompt_mask, repeats), prompt_lengths=repeat(lengths, repeats)
    )
    grown = grow_cache(result["cache"].self_attention, room)
    cache = tree.map_structure(lambda leaf: repeat(leaf, repeats), grown)
    return repeat(last, repeats), cache, context


def decode_step(
    parts: DecodingModel, context: Context, new_ids: Tensor, step: Tensor, cache: tuple
) -> tuple[Tensor, tuple]:
    """Runs the decoder on the last token, whose slot and position follow from the step.

    Args:
        parts: The model's parts.
        context: The context of the batch.
        new_ids: int (R, L), of which the first `step` columns are filled.
        step: scalar, at least 1.
        cache: The self-attention cache, with R rows.

    Returns:
        The hidden states (R, 1, D) from which the next tokens are predicted, and the new cache.
    """
    if parts.padding_id is None:
        generated = ops.ones_like(new_ids, dtype="bool")
    else:
        generated = ops.not_equal(new_ids, parts.padding_id)
    result = parts.decode(
        column(new_ids, step - 1),
        cache=DecoderCache(cache, context.cross_cache),
        cache_index=context.width + step - 1,
        positions=(context.prompt_lengths + step - 1)[:, None],
        # The causal mask hides slots that have not been written yet.
        padding_mask=ops.concatenate([context.prompt_mask, generated], axis=1),
        **context.source(),
    )
    return result["output"], result["cache"].self_attention


def prompt_lengths(history: Tensor, repeats: int) -> Tensor:
    """Counts the tokens of each prompt.

    Args:
        history: int (R, P), the prompts, padded on the left with -1.
        repeats: R / B, the number of hypotheses per prompt.

    Returns:
        int32 (B,).
    """
    lengths = ops.sum(ops.cast(history >= 0, "int32"), axis=1)
    return ops.cast(ops.reshape(lengths, (-1, repeats))[:, 0], "int32")


def tokens_so_far(history: Tensor, new_ids: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenates prompts and new tokens, for filters that depend on the history.

    Args:
        history: int (R, P), the prompts, padded on the left with -1.
        new_ids: int (R, L), of which the first `step` columns are filled.
        step: scalar.

    Returns:
        int (R, P + L), with -1 for missing tokens, and the number of filled columns.
    """
    columns = ops.arange(ops.shape(new_ids)[1], dtype="int32")
    chosen = ops.where(columns < step, new_ids, -1)
    return ops.concatenate([history, chosen], axis=1), ops.shape(history)[1] + step


def column(tensor: Tensor, index: Tensor) -> Tensor:
    """Returns the column (R, 1) of a tensor (R, L) at a scalar index."""
    return ops.take(tensor, ops.reshape(index, (1,)), axis=1)


def write_column(tensor: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Writes (R,) to the column of a tensor (R, L) at a scalar index."""
    columns = ops.arange(ops.shape(tensor)[1], dtype="int32")
    return ops.where(columns == index, values[:, None], tensor)


def repeat(tensor: Tensor, repeats: int) -> Tensor:
    """Repeats each row of the batch axis; the copies of a row are adjacent."""
    # A copy, since torch's repeat of a single row is a view, and a cache must be writable.
    return tensor if repeats == 1 else ops.copy(ops.repeat(tensor, repeats, axis=0))


def grow_cache(cache: tuple, room: Any) -> tuple:
    """Appends slots to the keys and values (R, K, L, H) of a cache.

    Tensors of another rank, such as the state of a recurrent decoder, have no slots.
    """
    return tree.map_structure(
        lambda leaf: grow(leaf, room, axis=2) if len(leaf.shape) == 4 else leaf, cache
    )


def grow(nest: Any, room: Any, axis: int = 1) -> Any:
    """Appends zeros along an axis of every tensor of a nest."""

    def grow_leaf(leaf):
        shape = list(ops.shape(leaf))
        shape[axis] = room
        return ops.concatenate([leaf, ops.zeros(shape, dtype=leaf.dtype)], axis=axis)

    return tree.map_structure(grow_leaf, nest)
