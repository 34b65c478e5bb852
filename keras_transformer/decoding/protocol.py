"""What decoding needs to know of a model.

Shape letters: B batch, T length, S source length, L cache slots, D hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.models.parts import find_parts

Tensor = Any


class DecodingModel:
    """The parts of a model that a decoding loop calls, each the layer that training calls too.

    A model that can be decoded is a functional `keras.Model` whose parts are found by name:

    * `decoder`, a layer with `initial_cache(batch_size, length, encoded, encoded_padding_mask)` and
      a `call` that takes embeddings, `positions`, `cache` and `cache_index` and returns `output`
      and the new `cache`;
    * `target_embedding` or `token_embedding`, which turns ids into vectors and, where there is no
      layer called `logits`, hidden states into logits with `reverse=True`;
    * for translation an `encoder`, and `source_embedding` where the source has one of its own.

    A token whose id is the embedding's `padding_id` takes a position and is hidden from the tokens
    after it, wherever it stands: as in the model itself, where the mask comes with the embeddings.
    The first target token is real all the same if the decoder has a true `start_is_padding`.

    A cache is a nest of tensors with the batch axis first. Those of rank 4, (B, heads, L, size),
    hold slots of positions and grow; all others are a state. In beam search it is reordered as the
    hypotheses are, unless the decoder has a true attribute `shares_slots`: then its cache is
    nothing but slots of positions, its `call` takes an `attention_mask` (B, T, L), and all
    hypotheses of a source live in one row, each seeing the slots of its own tokens.

    Args:
        model: a functional model that follows the protocol above.

    Raises:
        ValueError: a part is missing.

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
                "`model` must have a layer named `decoder`, and one named `token_embedding` or "
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
        """Whether the hypotheses of a source may share one row of the decoder's cache."""
        return getattr(self.decoder, "shares_slots", False)

    @property
    def max_length(self) -> int | None:
        """The longest target that the positions allow, None if there is no limit."""
        return _max_length(self.decoder)

    @property
    def source_max_length(self) -> int | None:
        """The longest source that the positions allow, None if there is no limit."""
        return _max_length(self.encoder)

    @property
    def vocabulary_size(self) -> int:
        """V, of the target."""
        return self.target_embedding.vocabulary_size

    @property
    def padding_id(self) -> int | None:
        """The target id that is masked, None if all are real tokens."""
        return self.target_embedding.padding_id

    @property
    def start_is_padding(self) -> bool:
        """Whether the first target token is real though it be the padding id."""
        return getattr(self.decoder, "start_is_padding", False)

    def encode(self, source_ids: Tensor, padding_mask: Tensor) -> Tensor:
        """Encodes (B, S) ids with their boolean mask (B, S) into (B, S, D)."""
        return self.encoder(
            self.source_embedding(source_ids), padding_mask=padding_mask, training=False
        )

    def decode(self, token_ids: Tensor, **arguments: Any) -> dict[str, Any]:
        """Runs the decoder over (B, T) ids; `arguments` as those of the decoder's `call`."""
        return self.decoder(self.target_embedding(token_ids), training=False, **arguments)

    def logits(self, hidden: Tensor, candidate_ids: Tensor | None = None) -> Tensor:
        """Projects (B, T, D) onto the vocabulary, or on some ids (C,) of it, in float32.

        Args:
            hidden: (B, T, D).
            candidate_ids: int (C,), the ids whose logits are wanted; None for all of them.

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
    """Whether logits are a product with a matrix, of which columns can be taken."""
    if projection is None:
        return True
    is_dense = type(projection) is keras.layers.Dense and projection.quantization_mode is None
    return is_dense and projection.activation is keras.activations.linear


def _max_length(stack):
    """What its positions allow; stacks without any, recurrent ones, have no limit."""
    positions = getattr(stack, "positional_encoding", None)
    return getattr(positions, "max_length", None)
