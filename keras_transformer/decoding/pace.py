"""How many tokens a stream makes before it hands them out."""

from __future__ import annotations

import time

from keras_transformer.decoding.generation_loop import GenerationRun
from keras_transformer.decoding.prompts import check_count

# Nobody sees a text wait for so long, and each call of a compiled loop costs something beside its
# steps (on TensorFlow the cache is copied in and out).
_SECONDS_PER_CALL = 0.1
_MOST_TOKENS_PER_CALL = 32


class Pace:
    """Advances a generation by as many tokens as a tenth of a second gives, at least one.

    Args:
        tokens_per_call: so many tokens at each call instead.

    Raises:
        ValueError: `tokens_per_call` is less than 1.
    """

    def __init__(self, tokens_per_call: int | None = None):
        if tokens_per_call is not None:
            check_count("tokens_per_call", tokens_per_call, 1)
        self.is_fixed = tokens_per_call is not None
        self.tokens = tokens_per_call or 1

    def advance(self, run: GenerationRun) -> None:
        """Generates the next tokens, and takes the time."""
        started = time.perf_counter()
        run.advance(run.step + self.tokens)
        seconds = time.perf_counter() - started
        if self.is_fixed:
            return
        # One call that took long (it may have compiled) is made up for by the next ones.
        if seconds > _SECONDS_PER_CALL:
            self.tokens = max(1, self.tokens // 2)
        elif 2 * seconds <= _SECONDS_PER_CALL:
            self.tokens = min(_MOST_TOKENS_PER_CALL, 2 * self.tokens)
