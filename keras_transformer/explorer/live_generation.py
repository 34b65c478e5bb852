"""Generation token by token, with the logits that each token was drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import decode, encode
from keras_transformer.decoding.generation_loop import GenerationRun
from keras_transformer.decoding.generation_options import GenerationOptions
from keras_transformer.decoding.logit_filters import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    scale_temperature,
)
from keras_transformer.decoding.samplers import RandomSampler, draw, greedy
from keras_transformer.explorer.fields import Fields
from keras_transformer.explorer.model_description import MAX_NEW_TOKENS
from keras_transformer.explorer.opened_model import OpenedModel
from keras_transformer.explorer.recorded_run import Ablate
from keras_transformer.visualize.trace import record
from keras_transformer.visualize.wire import encode_tensor

_MOST_SEED = 2**53  # above this, JavaScript's integers are not exact


def generation_lines(opened: OpenedModel, fields: Fields) -> Iterator[dict[str, Any]]:
    """Continues a text; each line of the answer is computed when it is requested.

    Args:
        opened: A language model.
        fields: The request: `text`, `max_new_tokens`, `temperature`, `top_k`, `top_p`, `min_p`,
            `seed` and `ablate`.

    Yields:
        The prompt's tokens, a line for each new token, and the whole text.

    Raises:
        ValueError: If the model is not a language model or a field is out of range.
    """
    if opened.kind != "language_model":
        raise ValueError("`generate` needs a language model.")
    text, ablate = fields.text(), fields.ablate()
    ids = encode(opened.tokenizer, [text])[0]
    opened.check_length("text", "decoder", len(ids) + 1)
    texts = opened.texts["decoder"]
    witness = Witness(_sampler(opened, fields))
    limit = fields.integer("max_new_tokens", 1, MAX_NEW_TOKENS, 32)
    positions = opened.limit("decoder")
    if positions is not None:  # the last token needs no position
        limit = min(limit, positions - len(ids) + 1)
    end_id = special_ids(opened.tokenizer).end
    chosen: list[int] = []
    for new_id in _new_ids(opened, ids, limit, witness, fields, ablate, end_id):
        if not chosen:  # not before the first id, so that an error is the only answer
            yield {"prompt": texts.tokens(ids)}
        yield {
            "index": len(chosen),
            **texts.tokens([new_id])[0],
            "probability": float(witness.probabilities[new_id]),
            "logits": encode_tensor(witness.logits),
        }
        chosen.append(new_id)
    yield _last_line(opened, text, ids, chosen, end_id)


def _last_line(opened, text, ids, chosen, end_id):
    ended = bool(chosen) and chosen[-1] == end_id
    continuation = _text_of(opened, ids, chosen[:-1] if ended else chosen)
    return {
        "done": True,
        "text": text + continuation,
        "continuation": continuation,
        "stopped": "end" if ended else "length",
    }


class Witness:
    """A sampler that remembers the logits and the probabilities that it drew from.

    Args:
        sampler: A `kt.decoding.RandomSampler`; None for greedy decoding.

    Example:
        >>> import keras, keras_transformer as kt
        >>> from keras_transformer.explorer.live_generation import Witness
        >>> witness = Witness(kt.decoding.RandomSampler(top_k=1))
        >>> tokens = witness(keras.ops.convert_to_tensor([[1.0, 3.0]]), keras.ops.zeros((1,)))
        >>> int(tokens[0]), [float(p) for p in witness.probabilities]
        (1, [0.0, 1.0])
    """

    def __init__(self, sampler: RandomSampler | None):
        self.sampler = sampler
        self.logits = self.probabilities = np.zeros(0, "float32")

    def __call__(self, logits: Any, uniform: Any) -> Any:
        """Chooses ids (1,) from logits (1, V) and random numbers (1,)."""
        filtered = logits if self.sampler is None else filtered_logits(self.sampler, logits)
        self.logits = ops.convert_to_numpy(logits)[0]
        self.probabilities = ops.convert_to_numpy(ops.softmax(filtered))[0]
        return greedy(logits) if self.sampler is None else draw(filtered, uniform)


def filtered_logits(sampler: RandomSampler, logits: Any) -> Any:
    """Returns logits after the temperature and the filters, in the order of the sampler."""
    filters: tuple[tuple[Callable, Any], ...] = (
        (scale_temperature, sampler.temperature),
        (keep_top_k, sampler.top_k),
        (keep_top_p, sampler.top_p),
        (keep_min_p, sampler.min_p),
    )
    for apply, value in filters:
        if value is not None:
            logits = apply(logits, value)
    return logits


def _sampler(opened, fields):
    temperature = fields.number("temperature", 0, 10)
    top_k = fields.integer("top_k", 1, opened.vocabulary_size) if fields.get("top_k") else None
    top_p, min_p = fields.number("top_p", 0, 1), fields.number("min_p", 0, 1)
    return RandomSampler(temperature, top_k, top_p, min_p) if temperature else None


def _new_ids(opened, ids, limit, witness, fields, ablate: Ablate, end_id) -> Iterator[int]:
    """Yields new ids; `record` is closed between them, so that others may record."""
    defaults = opened.pipeline.defaults
    options = GenerationOptions(
        max_new_tokens=limit,
        sampler=witness,
        stop_ids=() if end_id is None else (end_id,),
        seed=fields.integer("seed", 0, _MOST_SEED) if fields.get("seed") is not None else None,
        banned_ids=opened.pipeline.banned_ids,
        repetition_penalty=defaults.repetition_penalty,
        no_repeat_ngram_size=defaults.no_repeat_ngram_size,
        min_new_tokens=defaults.min_new_tokens,
    )
    with record(opened.model, (), ablate=ablate):
        run = GenerationRun(opened.model, [ids], options, "text")
    while True:
        yield int(run.tokens(run.step - 1)[0][0])
        if run.is_complete():
            return
        with record(opened.model, (), ablate=ablate):
            run.advance(run.step + 1)


def _text_of(opened, ids, new):
    """The text of new ids, decoded with the prompt, whose end determines the spacing."""
    before, whole = decode(opened.tokenizer, [ids, [*ids, *new]], end_id=None)
    return whole[len(before) :]
