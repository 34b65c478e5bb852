"""The options of a generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class GenerationOptions(NamedTuple):
    """The options that `generate`, `stream` and the pipelines share, with their defaults.

    All attributes but `row_indices` are arguments of `kt.decoding.generate`. `row_indices` are the
    indices of the batch's prompts among all prompts, on which their random numbers depend; None for
    0, 1, 2 and so on.
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
    row_indices: Sequence[int] | None = None
