"""What greedy decoding, sampling and beam search share: the prefill and one step over the cache.

Shape letters: B batch, R rows (B times the hypotheses of each), P prompt width, L new tokens that
there is room for, S source length, D hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops, tree

from keras_transformer.decoding.protocol import DecodingModel
from keras_transformer.ops.cache import DecoderCache

Tensor = Any


class Context(NamedTuple):
    """What stays as it is while a batch is decoded.

    Attributes:
        prompt_mask: boolean (R, P), True where a prompt's token may be seen.
        prompt_lengths: int (R,), the tokens of each prompt, hidden ones inside it among them.
        source_mask: boolean (B, S), True where a source token is real; an empty tuple without a
            source.
        cross_cache: the keys and values of the encoded source, once for each source, whatever the
            number of hypotheses.
    """

    prompt_mask: Tensor
    prompt_lengths: Tensor
    source_mask: Tensor
    cross_cache: tuple

    @property
    def width(self) -> Any:
        """P, the slots of the cache that the prompts take."""
        return ops.shape(self.prompt_mask)[1]

    def source(self) -> dict[str, Tensor]:
        """The decoder's argument for the source's padding."""
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
    """Runs the model over the prompts, each token once.

    Args:
        parts: the model's parts.
        prompt_ids: int (B, P), padded on the right.
        prompt_mask: boolean (B, P), True where a token is real.
        lengths: int (B,), the tokens of each prompt, hidden ones inside it among them.
        room: L, slots of the cache for new tokens.
        repeats: hypotheses of each prompt, R / B.
        source_ids: int (B, S), for a translator.
        source_mask: boolean (B, S).

    Returns:
        The hidden states (R, 1, D) that the first new tokens follow from, the self-attention's
        cache with R rows, and the context.
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
    """Feeds the token chosen last, whose slot and position follow from the step.

    Args:
        parts: the model's parts.
        context: of the batch.
        new_ids: int (R, L), the tokens chosen so far, `step` of them.
        step: scalar, at least 1.
        cache: the self-attention's, with R rows.

    Returns:
        The hidden states (R, 1, D) that the next tokens follow from, and the new cache.
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
        # Slots that are not written yet are hidden by the causal mask.
        padding_mask=ops.concatenate([context.prompt_mask, generated], axis=1),
        **context.source(),
    )
    return result["output"], result["cache"].self_attention


def prompt_lengths(history: Tensor, repeats: int) -> Tensor:
    """Counts the tokens of each prompt.

    Args:
        history: int (R, P), the prompts with their ends in one column, -1 in front of them.
        repeats: hypotheses of each prompt, R / B.

    Returns:
        int32 (B,).
    """
    lengths = ops.sum(ops.cast(history >= 0, "int32"), axis=1)
    return ops.cast(ops.reshape(lengths, (-1, repeats))[:, 0], "int32")


def tokens_so_far(history: Tensor, new_ids: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Joins prompts and new tokens for the filters that look back.

    Args:
        history: int (R, P), the prompts with their ends in one column, -1 in front of them.
        new_ids: int (R, L), the tokens chosen so far, `step` of them.
        step: scalar.

    Returns:
        int (R, P + L), -1 where there is no token, and how many columns are filled.
    """
    columns = ops.arange(ops.shape(new_ids)[1], dtype="int32")
    chosen = ops.where(columns < step, new_ids, -1)
    return ops.concatenate([history, chosen], axis=1), ops.shape(history)[1] + step


def column(tensor: Tensor, index: Tensor) -> Tensor:
    """The column (R, 1) of a tensor (R, L) at a scalar index."""
    return ops.take(tensor, ops.reshape(index, (1,)), axis=1)


def write_column(tensor: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Writes (R,) into a tensor (R, L) at a scalar index."""
    columns = ops.arange(ops.shape(tensor)[1], dtype="int32")
    return ops.where(columns == index, values[:, None], tensor)


def repeat(tensor: Tensor, repeats: int) -> Tensor:
    """Repeats each row of the batch axis, so that the hypotheses of one source are neighbours."""
    return tensor if repeats == 1 else ops.repeat(tensor, repeats, axis=0)


def grow_cache(cache: tuple, room: Any) -> tuple:
    """Adds slots at the end of the keys and values (R, K, L, H) of a cache.

    Whatever has another rank, as the state of a recurrent decoder, has no slots.
    """
    return tree.map_structure(
        lambda leaf: grow(leaf, room, axis=2) if len(leaf.shape) == 4 else leaf, cache
    )


def grow(nest: Any, room: Any, axis: int = 1) -> Any:
    """Adds zeros at the end of an axis of every tensor of a nest."""

    def grow_leaf(leaf):
        shape = list(ops.shape(leaf))
        shape[axis] = room
        return ops.concatenate([leaf, ops.zeros(shape, dtype=leaf.dtype)], axis=axis)

    return tree.map_structure(grow_leaf, nest)
