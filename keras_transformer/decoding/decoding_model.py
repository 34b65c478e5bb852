"""The interface between decoding and a model.

Shape letters: B batch, T length, S source length, L cache slots, D hidden, V vocabulary, C
candidates.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.models.model_parts import find_parts

Tensor = Any


class DecodingModel:
    """The parts of a model used for decoding; they are the same layers used in training.

    A model that can be decoded is a functional `keras.Model` whose parts are found by name:

    * `decoder`, a layer with `initial_cache(batch_size, length, encoded, encoded_padding_mask)` and
      a `call` that takes embeddings, `positions`, `cache` and `cache_index` and returns `output`
      and the new `cache`;
    * `target_embedding` or `token_embedding`, which maps ids to vectors and, without a layer named
      `logits`, hidden states to logits with `reverse=True`;
    * for translation, `encoder`, and `source_embedding` if the source has its own embedding.

    A token whose id is the embedding's `padding_id` occupies a position but is masked, wherever it
    occurs, just as in the model itself, where the embedding creates the mask. The exception is the
    first target token of a decoder whose `start_is_padding` is true.

    A cache is a nested structure of tensors with the batch axis first. Tensors of rank 4,
    (B, heads, L, size), hold one slot per position and grow; all others hold a fixed-size state.
    Beam search reorders the cache with the hypotheses. If the decoder's `shares_slots` is true, the
    cache is not reordered. Instead it contains only slots, `call` takes an `attention_mask` (B, T,
    L), and the hypotheses of a source share one row, each attending only to its own tokens.

    Args:
        model: A functional model that follows this protocol.

    Raises:
        ValueError: If a part is missing.

    Example:
        >>> import keras_transformer as kt
        >>> model = kt.models.gpt(
        ...     vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> parts = kt.decoding.DecodingModel(model)
        >>> parts.is_translator, parts.vocabulary_size, parts.max_length
        (False, 50, 512)
    """

    def __init__(self, model: keras.Model):
        layers = {layer.name: layer for layer in model.layers}
        parts = find_parts(layers)
        if parts.decoder is None or parts.target_embedding is None:
            raise ValueError(
                "`model` must have a layer named `decoder` and one named `token_embedding` or "
                f"`target_embedding`. Received: layers {sorted(layers)}."
            )
        self.encoder, self.decoder = parts.encoder, parts.decoder
        self.source_embedding = parts.source_embedding
        self.target_embedding = parts.target_embedding
        self.projection = parts.projection

    @property
    def is_translator(self) -> bool:
        """Whether the model encodes a source first."""
        return self.encoder is not None

    @property
    def shares_slots(self) -> bool:
        """Whether the hypotheses of a source can share one row of the decoder's cache."""
        return getattr(self.decoder, "shares_slots", False)

    @property
    def max_length(self) -> int | None:
        """The number of target positions; None if there is no limit."""
        return _max_length(self.decoder)

    @property
    def source_max_length(self) -> int | None:
        """The number of source positions; None if there is no limit."""
        return _max_length(self.encoder)

    @property
    def vocabulary_size(self) -> int:
        """V, the size of the target vocabulary."""
        return self.target_embedding.vocabulary_size

    @property
    def padding_id(self) -> int | None:
        """The target id that is masked; None if no id is."""
        return self.target_embedding.padding_id

    @property
    def start_is_padding(self) -> bool:
        """Whether the first target token is never masked, even if it is the padding id."""
        return getattr(self.decoder, "start_is_padding", False)

    def encode(self, source_ids: Tensor, padding_mask: Tensor) -> Tensor:
        """Encodes ids (B, S), with their boolean mask (B, S), as (B, S, D)."""
        return self.encoder(
            self.source_embedding(source_ids), padding_mask=padding_mask, training=False
        )

    def decode(self, token_ids: Tensor, **arguments: Any) -> dict[str, Any]:
        """Runs the decoder on ids (B, T); `arguments` are those of the decoder's `call`."""
        return self.decoder(self.target_embedding(token_ids), training=False, **arguments)

    def logits(self, hidden: Tensor, candidate_ids: Tensor | None = None) -> Tensor:
        """Computes float32 logits of the vocabulary, or only of some of its ids.

        Args:
            hidden: float (B, T, D).
            candidate_ids: int (C,), the ids to compute logits for; None for all.

        Returns:
            (B, T, V) or (B, T, C).
        """
        if candidate_ids is not None:
            logits = self._some_logits(hidden, candidate_ids)
        elif self.projection is not None:
            logits = self.projection(hidden)
        else:
            logits = self.target_embedding(hidden, reverse=True)
        return ops.cast(logits, "float32")

    def _some_logits(self, hidden, candidate_ids):
        if not _is_matrix(self.projection):
            return ops.take(self.projection(hidden), candidate_ids, axis=-1)
        if self.projection is None:
            matrix, bias = self.target_embedding.embeddings, self.target_embedding.bias
        else:
            matrix = ops.transpose(self.projection.kernel)
            bias = self.projection.bias if self.projection.use_bias else None
        rows = ops.cast(ops.take(matrix, candidate_ids, axis=0), hidden.dtype)  # (C, D)
        logits = ops.matmul(hidden, ops.transpose(rows))
        if bias is None:
            return logits
        return logits + ops.cast(ops.take(bias, candidate_ids), logits.dtype)


def _is_matrix(projection):
    """Whether logits are a plain matrix product, some of whose columns can be computed."""
    if projection is None:
        return True
    is_dense = type(projection) is keras.layers.Dense and projection.quantization_mode is None
    return is_dense and projection.activation is keras.activations.linear


def _max_length(stack):
    """Returns the number of positions of a stack; None if it is unlimited, as in recurrent ones."""
    positions = getattr(stack, "positional_encoding", None)
    return getattr(positions, "max_length", None)
