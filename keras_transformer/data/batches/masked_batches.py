"""Batches for masked language modeling, for bidirectional encoders such as BERT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_flag, check_integer, check_share
from keras_transformer.data.batches.epoch_batches import EpochBatches
from keras_transformer.data.batches.epoch_plans import fingerprint, split_steps
from keras_transformer.data.batches.text_blocks import cut_blocks
from keras_transformer.data.rows import one_text, padded
from keras_transformer.data.tokenizers.interface import Tokenizer


class MaskedLanguageModelBatches(EpochBatches):
    """Batches of blocks cut from one long text, for masked language modeling.

    Each item is `({"token_ids": (B, T), "segment_ids": (B, T)}, labels (B, T))` in int32 with
    B = `batch_size` and T = `length`. A fraction `rate` of a block's tokens is selected; of these,
    80% become `mask_id`, 10% a random token, and 10% stay the same, so that the model must
    represent every token. The labels are the selected tokens, and 0 (ignored) everywhere else; the
    segments are all 0.

    With `shuffle`, blocks start at a new offset, are reordered and mask different tokens every
    epoch; without it, every epoch is the same, for validation. Short blocks and the last batch
    are padded with 0. Shards work as in `LanguageModelBatches`.

    Args:
        token_ids: Ids of the text, (number of tokens,).
        length: Tokens per block.
        batch_size: Blocks per batch and shard.
        mask_id: Id that replaces masked tokens.
        vocabulary_size: All ids, random replacements included, are below it.
        rate: Fraction of tokens selected, in (0, 1].
        word_starts: Booleans (vocabulary_size,), true for tokens that start a word, as returned by
            `kt.data.word_starts`, to mask whole words. None masks single tokens.
        never_masked: Ids that are neither selected nor used as random replacements.
        shuffle: Whether epochs differ.
        seed: Non-negative integer. Everything random depends only on it and the epoch.
        num_shards: Number of workers that train together, each with its own dataset.
        shard_index: Index of this worker, from 0.
        segments: Whether the inputs include `segment_ids`; False for models without segments.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`, the number of threads
            that prepare batches ahead if `fit` is called with `shuffle=False`.

    Raises:
        ValueError: If there are fewer than two tokens, an argument or an id is out of range, or
            `word_starts` does not have one value per id.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> batches = kt.data.MaskedLanguageModelBatches(
        ...     np.arange(4, 24), length=10, batch_size=2, mask_id=3, vocabulary_size=24, rate=0.2,
        ...     shuffle=False)
        >>> inputs, labels = batches[0]
        >>> inputs["token_ids"].shape, int((labels > 0).sum())
        ((2, 10), 4)

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", section 3.1, task 1; whole words: the authors' repository, May 2019.
    """

    def __init__(
        self,
        token_ids: Sequence[int] | np.ndarray,
        length: int,
        batch_size: int,
        mask_id: int,
        vocabulary_size: int,
        rate: float = 0.15,
        word_starts: Sequence[bool] | np.ndarray | None = None,
        never_masked: Sequence[int] = (0, 1, 2, 3),
        shuffle: bool = True,
        seed: int = 0,
        num_shards: int = 1,
        shard_index: int = 0,
        segments: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, num_shards, shard_index, **kwargs)
        for name, value in {"length": length, "batch_size": batch_size}.items():
            check_integer(1, **{name: value})
        check_integer(2, vocabulary_size=vocabulary_size)
        check_integer(1, mask_id=mask_id)
        if mask_id >= vocabulary_size:
            raise ValueError(
                "`mask_id` must be below `vocabulary_size`. "
                f"Received: mask_id={mask_id}, vocabulary_size={vocabulary_size}."
            )
        check_share(rate=rate)
        check_flag(segments=segments)
        self._ids = one_text(token_ids, vocabulary_size)
        self.length, self.batch_size = length, batch_size
        self.mask_id, self.rate, self.segments = mask_id, float(rate), segments
        never = [*never_masked, mask_id]
        self._may_be_chosen = ~np.isin(self._ids, never)
        self._replacements = np.setdiff1d(np.arange(1, vocabulary_size), never)
        if not len(self._replacements) or not self._may_be_chosen.any():
            raise ValueError(
                "`never_masked` must leave some tokens to mask. "
                f"Received: never_masked={tuple(never_masked)!r}."
            )
        self._words = self._word_numbers(word_starts, vocabulary_size)
        self._settings = {
            "length": length,
            "batch_size": batch_size,
            "mask_id": mask_id,
            "rate": repr(self.rate),
            "whole_words": word_starts is not None,
        }
        self._corpus = fingerprint(self._ids, self._words)
        self.epoch = 0

    def _word_numbers(self, starts, vocabulary_size):
        """Returns the word index of each token; without `starts` each token is a word."""
        if starts is None:
            return np.arange(len(self._ids))
        starts = np.asarray(starts)
        if starts.shape != (vocabulary_size,) or starts.dtype != bool:
            raise ValueError(
                f"`word_starts` must be {vocabulary_size} booleans, one per id. "
                f"Received: shape={starts.shape}, dtype={starts.dtype}."
            )
        # A token that is never masked is a word by itself, not part of the one before.
        alone = ~self._may_be_chosen
        begins = starts[self._ids] | alone | np.roll(alone, 1)
        return np.cumsum(begins)

    def _plan(self, generator: np.random.Generator | None) -> list[list[np.ndarray]]:
        blocks = cut_blocks(len(self._ids), self.length, generator)
        return split_steps(blocks, self.batch_size, self.num_shards)

    def _make_batch(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and labels of one batch.

        Args:
            index: Index of the batch.

        Returns:
            `({"token_ids": (B, T), "segment_ids": (B, T)}, labels (B, T))` in int32, without
            `segment_ids` unless `segments`.
        """
        starts, lengths = self._batches[index].T
        token_ids = padded(self._ids, starts, lengths, (self.batch_size, self.length))
        labels = np.zeros_like(token_ids)
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            # Seeded by the block, so that the masks do not depend on shard or batch.
            numbers = (self.seed, self._epoch if self.shuffle else 0, start)
            generator = np.random.default_rng(numbers)
            chosen = self._choose(start, length, generator)
            labels[row, chosen] = token_ids[row, chosen]
            token_ids[row, chosen] = self._hide(token_ids[row, chosen], generator)
        inputs = {"token_ids": token_ids}
        if self.segments:
            inputs["segment_ids"] = np.zeros_like(token_ids)
        return inputs, labels

    def _choose(self, start, length, generator):
        """Returns the positions of a block to predict: whole words, up to the masking rate."""
        places = np.flatnonzero(self._may_be_chosen[start : start + length])
        if not len(places):
            return places
        _, word = np.unique(self._words[start + places], return_inverse=True)
        sizes = np.bincount(word)
        room = max(1, round(self.rate * len(places)))
        order = generator.permutation(len(sizes))
        # A word longer than the remaining room is skipped, as in the authors' code.
        taken = np.zeros(len(sizes), bool)
        for one in order:
            if sizes[one] <= room:
                taken[one] = True
                room -= sizes[one]
            if not room:
                break
        return places[taken[word]]

    def _hide(self, tokens, generator):
        draw = generator.random(len(tokens))
        others = generator.choice(self._replacements, len(tokens))
        return np.where(draw < 0.8, self.mask_id, np.where(draw < 0.9, others, tokens))

    @property
    def padding_fraction(self) -> float:
        """Fraction of an epoch's positions, over all shards, that are padding."""
        num_rows = self._num_batches * self.num_shards * self.batch_size
        return 1.0 - len(self._ids) / (num_rows * self.length)


def word_starts(tokenizer: Tokenizer) -> np.ndarray:
    """Finds the tokens that start a word, for whole-word masking.

    SentencePiece and byte-pair vocabularies mark them with a symbol for the preceding space;
    WordPiece marks all other tokens with "##".

    Args:
        tokenizer: A tokenizer with V ids.

    Returns:
        Booleans (V,), true for tokens that start a word.

    Example:
        >>> import keras_transformer as kt
        >>> tokenizer = kt.data.train_tokenizer(["a cat", "a dog"], vocabulary_size=11)
        >>> kt.data.word_starts(tokenizer).shape
        (11,)
    """
    tokens = [tokenizer.id_to_token(token_id) for token_id in range(tokenizer.vocabulary_size())]
    if any(token.startswith("##") for token in tokens):
        return np.array([not token.startswith("##") for token in tokens])
    return np.array([token.startswith(("\u2581", "\u0120")) for token in tokens])
