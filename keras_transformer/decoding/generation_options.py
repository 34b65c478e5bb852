"""The options of a generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class GenerationOptions(NamedTuple):
    """The options that `generate`, `stream` and the pipelines share, with their defaults.

    All attributes but `first_row` are arguments of `kt.decoding.generate`. `first_row` is the index
    of the batch's first row among all rows, on which the random numbers depend.
    """

    max_new_tokens: int = 64
    sampler: str | Callable = "greedy"
    stop_ids: Sequence[int] = ()
    seed: int | None = None
    start_id: int = 2
    banned_ids: Sequence[int] = ()
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    num_return: int | None = None
    return_log_probs: bool = False
    candidate_ids: Sequence[int] | Sequence[Sequence[int]] | None = None
    prefix_ids: Any = None
    first_row: int = 0
