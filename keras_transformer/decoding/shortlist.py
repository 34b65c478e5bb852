"""Lexical shortlists: which target ids a source sentence may need.

Shape letters: V source vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class LexicalShortlist:
    """For each source id the target ids that translate it, and a few that any sentence needs.

    A translator that chooses among hundreds of ids in place of tens of thousands has most of its
    logits for nothing.

    Args:
        offsets: int (V + 1,), where the list of each source id begins in `ids`.
        ids: int, the lists of all source ids, one after the other.
        num_first: the target ids 0 to `num_first - 1` are always candidates.
        include_source: whether the ids of the source are candidates too, for names and numbers that
            stay as they are; it takes a vocabulary that both languages share.

    Raises:
        ValueError: offsets that do not rise from 0 to the number of ids, ids below 0.

    Example:
        >>> import keras_transformer as kt
        >>> shortlist = kt.decoding.LexicalShortlist([0, 0, 2, 3], [7, 9, 8], num_first=2)
        >>> shortlist([[1, 2], [2, 0]])
        [[0, 1, 7, 8, 9], [0, 1, 8]]

    Reference:
        Jean et al. 2015, "On Using Very Large Target Vocabulary for Neural Machine Translation",
        section 3.3; Kim et al. 2019, "From Research to Production and Back: Ludicrously Fast Neural
        Machine Translation", section 3.1.
    """

    def __init__(
        self, offsets: Any, ids: Any, num_first: int = 100, include_source: bool = False
    ) -> None:
        self.offsets = np.asarray(offsets, "int64")
        self.ids = np.asarray(ids, "int64")
        self.num_first = num_first
        self.include_source = include_source
        ends = self.offsets[[0, -1]].tolist() if len(self.offsets) > 1 else []
        if ends != [0, len(self.ids)] or (np.diff(self.offsets) < 0).any():
            raise ValueError(
                "`offsets` must rise from 0 to the number of `ids`. "
                f"Received: ends={ends}, {len(self.ids)} ids."
            )
        if len(self.ids) and self.ids.min() < 0:
            raise ValueError(f"`ids` must be at least 0. Received: {self.ids.min()}.")

    def __call__(self, sources: Iterable[Sequence[int]]) -> list[list[int]]:
        """Lists the candidates of sentences.

        Args:
            sources: a list of source ids for each sentence.

        Returns:
            For each of them its candidates in rising order, the `candidate_ids` of
            `kt.decoding.generate` and `kt.decoding.beam_search`.

        Raises:
            ValueError: an id that has no list.
        """
        return [self._candidates(row) for row in sources]

    def _candidates(self, row):
        size = len(self.offsets) - 1
        row = np.unique(np.asarray(row, "int64"))
        if len(row) and not 0 <= row[0] <= row[-1] < size:
            raise ValueError(
                f"`sources` must hold ids in the range [0, {size}). "
                f"Received: ids from {row[0]} to {row[-1]}."
            )
        lists = [self.ids[self.offsets[i] : self.offsets[i + 1]] for i in row]
        always = [np.arange(self.num_first), *([row] if self.include_source else [])]
        return np.unique(np.concatenate([*always, *lists])).tolist()
