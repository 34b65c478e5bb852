"""Lexical shortlists: the target ids that the translation of a source sentence may need.

Shape letters: V source vocabulary.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_flag, check_integer, check_positive
from keras_transformer.decoding.padded_rows import as_ids
from keras_transformer.files import naming_file, open_arrays, whole_file

# Token ids are int32.
_IDS = 2**31
_FIELDS = ("offsets", "ids", "num_first", "include_source", "multiple")


class LexicalShortlist:
    """A lexical shortlist: the likely translations of each source id, plus frequent target ids.

    A translator that chooses among hundreds of ids instead of tens of thousands saves most of the
    cost of its logits.

    Args:
        offsets: int (V + 1,), the start of each source id's list in `ids`.
        ids: int, the lists of target ids of all source ids, concatenated.
        num_first: The number of lowest target ids that are always candidates.
        include_source: Whether the ids of the source are candidates as well, for names and numbers
            that are copied; requires a shared vocabulary.
        multiple: Pads the candidates to a multiple of this number, with the lowest known ids that
            are not candidates yet. Marian's 8-bit matrix products require 8.

    Raises:
        ValueError: If the offsets do not increase from 0 to the number of ids, an id is negative
            or not an int32, or a number is negative.

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
        self,
        offsets: Any,
        ids: Any,
        num_first: int = 100,
        include_source: bool = False,
        multiple: int = 1,
    ) -> None:
        check_integer(0, num_first=num_first)
        check_positive(multiple=multiple)
        check_flag(include_source=include_source)
        self.offsets = as_ids("offsets", "offsets", offsets, "integers")
        self.ids = as_ids("ids", "ids", ids, "integers")
        self.num_first = num_first
        self.include_source = include_source
        self.multiple = multiple
        ends = self.offsets[[0, -1]].tolist() if len(self.offsets) > 1 else []
        if ends != [0, len(self.ids)] or (self.offsets[1:] < self.offsets[:-1]).any():
            raise ValueError(
                "`offsets` must increase from 0 to the number of `ids`. "
                f"Received: ends={ends}, {len(self.ids)} ids."
            )
        if len(self.ids) and not 0 <= self.ids.min() <= self.ids.max() < _IDS:
            raise ValueError(
                "`ids` must be non-negative and less than 2^31. "
                f"Received: ids from {self.ids.min()} to {self.ids.max()}."
            )

    def __call__(self, sources: Iterable[Sequence[int]]) -> list[list[int]]:
        """Returns the candidates of each sentence.

        Args:
            sources: A list of source ids for each sentence.

        Returns:
            A list of candidates for each sentence, in increasing order, which serve as
            `candidate_ids` of `kt.decoding.generate` and `kt.decoding.beam_search`.

        Raises:
            ValueError: If a source id is not an integer or out of range.
        """
        return [self._candidates(index, row) for index, row in enumerate(sources)]

    def save(self, path: str | os.PathLike) -> None:
        """Writes the shortlist to a `.npz` file.

        Args:
            path: The path of the file.

        Raises:
            OSError: If the disk is full or refuses the write; an earlier file is unchanged.
        """
        fields = {name: getattr(self, name) for name in _FIELDS}
        with whole_file(path) as work, open(work, "wb") as file:
            np.savez_compressed(file, **fields)

    @classmethod
    def load(cls, path: str | os.PathLike) -> LexicalShortlist:
        """Loads a file written by `save`.

        Args:
            path: The path of the file.

        Returns:
            A `LexicalShortlist`.

        Raises:
            ValueError: If the file is missing, damaged or not a shortlist.
        """
        try:
            with naming_file(path), open_arrays(path) as archive:
                for name, header in archive.headers.items():
                    if name in _FIELDS and len(header.shape) != (name in _FIELDS[:2]):
                        raise ValueError(f"`{name}` with the shape {header.shape}")
                fields: dict[str, Any] = {name: archive.read(name) for name in _FIELDS}
                fields |= {name: fields[name].item() for name in _FIELDS[2:]}
                shortlist = cls(**fields)
                shortlist._check_numbers()
            return shortlist
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"`{os.fspath(path)}` must be a shortlist written by `save`. Received: {error}."
            ) from error

    def _check_numbers(self) -> None:
        """Raises a ValueError if a number from a file exceeds the number of known ids.

        Each sentence gets `num_first` candidates, and 2^40 of them would take terabytes.
        """
        known = self._num_known()
        for name in ("num_first", "multiple"):
            if getattr(self, name) > max(known, 1024):
                raise ValueError(
                    f"`{name}` must be at most the number of known ids, {known}. "
                    f"Received: {name}={getattr(self, name)}."
                )

    def _num_known(self):
        return max(len(self.offsets) - 1, int(self.ids.max(initial=-1)) + 1)

    def _candidates(self, index, row):
        size = len(self.offsets) - 1
        row = np.unique(as_ids("sources", f"row {index}", row))
        if len(row) and not 0 <= row[0] <= row[-1] < size:
            raise ValueError(
                f"`sources` must contain ids in the range [0, {size}). "
                f"Received: row {index} has ids from {row[0]} to {row[-1]}."
            )
        lists = [self.ids[self.offsets[i] : self.offsets[i + 1]] for i in row]
        always = [np.arange(self.num_first), *([row] if self.include_source else [])]
        found = np.unique(np.concatenate([*always, *lists]))
        missing = -len(found) % self.multiple
        if missing:
            rest = np.setdiff1d(np.arange(min(len(found) + missing, self._num_known())), found)
            found = np.union1d(found, rest[:missing])
        return found.tolist()
