"""Masked tokens to be guessed, for models that read in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.data.base import Tokenizer
from keras_transformer.data.blocks import cut_blocks
from keras_transformer.data.epoch_batches import EpochBatches
from keras_transformer.data.plans import fingerprint, split_steps
from keras_transformer.data.rows import check_integer, check_share, one_text, padded


class MaskedLanguageModelBatches(EpochBatches):
    """Batches of blocks of one long text in which some tokens are hidden, to be guessed.

    Each item is `({"token_ids": (B, T), "segment_ids": (B, T)}, labels (B, T))` in int32 with
    B = `batch_size` and T = `length`. Of the tokens of a block, `rate` are chosen; of those, four
    fifths become `mask_id`, a tenth a random token, and a tenth stay, so that the model must know
    every token. The labels are the chosen tokens, and 0, which counts for nothing, everywhere else;
    the segments are all 0.

    With `shuffle`, blocks begin elsewhere, come in another order and hide other tokens in every
    epoch; without, every epoch is the same, for validation. Short blocks and the last batch are
    filled up with 0, the padding id. Shards as in `LanguageModelBatches`.

    Args:
        token_ids: Integers of shape (number of tokens,).
        length: Tokens of a block.
        batch_size: Blocks of a batch, of each shard.
        mask_id: What hides a token.
        vocabulary_size: Upper limit of the ids, and of those that replace a token.
        rate: Share of the tokens that are chosen.
        word_starts: Booleans (vocabulary size,), true for the tokens that begin a word, as
            `kt.data.word_starts` finds them, for whole words to be chosen; None for single tokens.
        never_masked: Ids that are neither chosen nor put in the place of others.
        shuffle: Whether every epoch is another one.
        seed: Non-negative integer; everything random depends on it and on the epoch's number alone.
        num_shards: Number of workers that train together, each on a dataset of its own.
        shard_index: Which of them this one is, from 0.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`: threads that make batches
            ahead where `fit` is given `shuffle=False`.

    Raises:
        ValueError: If there are fewer than two tokens, an argument or an id is out of range, or
            `word_starts` has another length than the vocabulary.

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
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, num_shards, shard_index, **kwargs)
        for name, value in {"length": length, "batch_size": batch_size}.items():
            check_integer(name, value, 1)
        check_integer("vocabulary_size", vocabulary_size, 2)
        check_integer("mask_id", mask_id, 1)
        if mask_id >= vocabulary_size:
            raise ValueError(
                "`mask_id` must be below `vocabulary_size`. "
                f"Received: mask_id={mask_id}, vocabulary_size={vocabulary_size}"
            )
        check_share("rate", rate)
        self._ids = one_text(token_ids, vocabulary_size)
        self.length, self.batch_size = length, batch_size
        self.mask_id, self.rate = mask_id, float(rate)
        never = [*never_masked, mask_id]
        self._may_be_chosen = ~np.isin(self._ids, never)
        self._replacements = np.setdiff1d(np.arange(1, vocabulary_size), never)
        if not len(self._replacements) or not self._may_be_chosen.any():
            raise ValueError(
                "`never_masked` must leave tokens to be masked. "
                f"Received: never_masked={tuple(never_masked)!r}"
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
        """The number of the word that each token belongs to; each is one without `word_starts`."""
        if starts is None:
            return np.arange(len(self._ids))
        starts = np.asarray(starts)
        if starts.shape != (vocabulary_size,) or starts.dtype != bool:
            raise ValueError(
                "`word_starts` must be one boolean for each id of the vocabulary. "
                f"Received: shape={starts.shape}, dtype={starts.dtype}"
            )
        # What is never chosen is no part of the word before it, and a word of its own.
        alone = ~self._may_be_chosen
        begins = starts[self._ids] | alone | np.roll(alone, 1)
        return np.cumsum(begins)

    def _plan(self, generator: np.random.Generator | None) -> list[list[np.ndarray]]:
        blocks = cut_blocks(len(self._ids), self.length, generator)
        return split_steps(blocks, self.batch_size, self.num_shards)

    def _make_batch(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Returns inputs and labels of one batch.

        Args:
            index: Number of the batch.

        Returns:
            `({"token_ids": (B, T), "segment_ids": (B, T)}, labels (B, T))` in int32.
        """
        starts, lengths = self._batches[index].T
        token_ids = padded(self._ids, starts, lengths, (self.batch_size, self.length))
        labels = np.zeros_like(token_ids)
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            # By the block alone: the same tokens are hidden whatever shard or batch it is in.
            numbers = (self.seed, self._epoch if self.shuffle else 0, start)
            generator = np.random.default_rng(numbers)
            chosen = self._choose(start, length, generator)
            labels[row, chosen] = token_ids[row, chosen]
            token_ids[row, chosen] = self._hide(token_ids[row, chosen], generator)
        return {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids)}, labels

    def _choose(self, start, length, generator):
        """The places of a block that are to be guessed: whole words while there is room."""
        places = np.flatnonzero(self._may_be_chosen[start : start + length])
        if not len(places):
            return places
        _, word = np.unique(self._words[start + places], return_inverse=True)
        sizes = np.bincount(word)
        room = max(1, round(self.rate * len(places)))
        order = generator.permutation(len(sizes))
        # A word that is too long for what is left is passed over, as in the authors' code.
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
        """Share of an epoch's positions, in all shards, that are padding."""
        num_rows = self._num_batches * self.num_shards * self.batch_size
        return 1.0 - len(self._ids) / (num_rows * self.length)


def word_starts(tokenizer: Tokenizer) -> np.ndarray:
    """Finds the tokens that begin a word, for whole words to be masked.

    SentencePiece and byte-pair vocabularies mark them with a sign for the space before them,
    WordPiece marks all others with "##".

    Args:
        tokenizer: A tokenizer of V ids.

    Returns:
        Booleans (V,).

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
