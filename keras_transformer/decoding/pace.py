"""The number of tokens that a stream generates per call of the compiled loop."""

from __future__ import annotations

import time

from keras_transformer.decoding.generation_loop import GenerationRun
from keras_transformer.decoding.prompts import check_count

# A delay too short to notice. Each call of a compiled loop has a fixed cost (on TensorFlow, the
# cache is copied in and out), so one call per token would be slow.
_SECONDS_PER_CALL = 0.1
_MOST_TOKENS_PER_CALL = 32


class Pace:
    """Advances a generation in slices of a tenth of a second, each at least one token.

    Args:
        tokens_per_call: A fixed number of tokens per slice; None to measure the time instead.

    Raises:
        ValueError: If `tokens_per_call` is less than 1.
    """

    def __init__(self, tokens_per_call: int | None = None):
        if tokens_per_call is not None:
            check_count("tokens_per_call", tokens_per_call, 1)
        self.is_fixed = tokens_per_call is not None
        self.tokens = tokens_per_call or 1

    def advance(self, run: GenerationRun) -> None:
        """Generates the next slice and adapts the slice length to the time it took."""
        started = time.perf_counter()
        run.advance(run.step + self.tokens)
        seconds = time.perf_counter() - started
        if self.is_fixed:
            return
        # A slow call, which may have compiled, halves the slice; faster ones double it again.
        if seconds > _SECONDS_PER_CALL:
            self.tokens = max(1, self.tokens // 2)
        elif 2 * seconds <= _SECONDS_PER_CALL:
            self.tokens = min(_MOST_TOKENS_PER_CALL, 2 * self.tokens)
