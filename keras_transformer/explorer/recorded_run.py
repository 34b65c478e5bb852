"""One recorded call of a model: its tokens, every tensor, and its output."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.data.tokenizers.special_ids import special_ids
from keras_transformer.data.tokenizers.subwords import decode, encode
from keras_transformer.decoding.generate import generate
from keras_transformer.explorer.fields import NotThere, Refused
from keras_transformer.explorer.opened_model import OpenedModel
from keras_transformer.pipelines.defaults import greedy_options
from keras_transformer.visualize.trace import Trace, record

Ablate = Mapping[str, Sequence[int]]
BEST = 10  # likeliest tokens of each position


@dataclasses.dataclass
class RecordedRun:
    """A recorded call of a model on one text or picture.

    Args:
        kind: The kind of model.
        inputs: The model's inputs, each with a batch axis of 1.
        trace: The tensors.
        result: What the model returned, as an array or a dict of arrays.
        encoder_ids: Ids that the encoder read.
        decoder_ids: Ids that the decoder read.
        next_ids: The id that follows each decoder id; None where only the model predicts one.
        embedded: The embeddings (T, D) of the ids by `encoder/embedding` and `decoder/embedding`;
            a shared embedding reports both under one name.
        ablate: The heads that were switched off.
        made: Whether the target was the model's own greedy translation.
    """

    kind: str
    inputs: dict[str, np.ndarray]
    trace: Trace
    result: Any
    encoder_ids: list[int] = dataclasses.field(default_factory=list)
    decoder_ids: list[int] = dataclasses.field(default_factory=list)
    next_ids: list[int | None] = dataclasses.field(default_factory=list)
    embedded: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    ablate: Ablate = dataclasses.field(default_factory=dict)
    made: bool = False

    @property
    def num_bytes(self) -> int:
        """The size of the tensors."""
        return sum(array.nbytes for array in self.trace.values())

    @property
    def logits_name(self) -> str | None:
        """The name of the tensor of logits; None if there are none."""
        names = [name for name in ("logits/output", "classifier/output") if name in self.trace]
        names += self.trace.find("*_embedding/logits")
        return names[-1] if names else None

    def tensor(self, name: str) -> np.ndarray:
        """Returns a tensor without its batch axis."""
        if name in self.embedded:
            return self.embedded[name]
        if name not in self.trace:
            raise NotThere(f"The run has no tensor named {name!r}.")
        array = self.trace[name]
        return array if self._is_unbatched(name) else array[0]

    def shapes(self) -> dict[str, list[int]]:
        """Returns the shape of each tensor, without its batch axis."""
        names = (*self.embedded, *self.trace)
        return {name: list(self.tensor(name).shape) for name in names}

    def _is_unbatched(self, name):
        """Whether a tensor has no batch axis: a position encoding is shared by all texts."""
        return name.endswith("/encoding") and self.trace[name].ndim == 2


class RunStore:
    """Store of the latest runs of all clients; the least recently used are dropped first.

    Args:
        max_runs: Maximum number of runs to keep.
        max_bytes: Maximum number of bytes to keep; the latest run is always kept.
    """

    def __init__(self, max_runs: int = 8, max_bytes: int = 1 << 30):
        self.max_runs, self.max_bytes = max_runs, max_bytes
        self._runs: OrderedDict[str, RecordedRun] = OrderedDict()
        self._lock, self._count = threading.Lock(), itertools.count(1)

    def add(self, run: RecordedRun) -> str:
        """Keeps a run and returns its id."""
        with self._lock:
            name = str(next(self._count))
            self._runs[name] = run
            while len(self._runs) > 1 and (
                len(self._runs) > self.max_runs
                or sum(one.num_bytes for one in self._runs.values()) > self.max_bytes
            ):
                self._runs.popitem(last=False)
            return name

    def get(self, name: Any) -> RecordedRun:
        """Returns a run; raises `NotThere` if it is no longer kept."""
        with self._lock:
            if not isinstance(name, str) or name not in self._runs:
                raise NotThere(f"The run {name!r} is no longer kept. Run the text again.")
            self._runs.move_to_end(name)
            return self._runs[name]


def run_text(
    opened: OpenedModel, text: str, target: str | None = None, ablate: Ablate | None = None
) -> RecordedRun:
    """Runs a model on a text.

    Args:
        opened: The model.
        text: The text, a translator's source.
        target: The translation to look at; None for the model's own greedy translation.
        ablate: Heads to switch off, by the path of their attention.

    Returns:
        The run.

    Raises:
        ValueError: If a text is too long or the model reads pictures.
    """
    ablate = ablate or {}
    if opened.kind == "vision":
        raise ValueError("`text` must not be given: the model reads pictures.")
    if opened.kind == "translator":
        source = source_ids(opened, text)
        target_ids = None if target is None else encode(opened.target_tokenizer, [target])[0]
        return run_translation(opened, source, target_ids, ablate)
    if opened.kind == "language_model":
        ids = encode(opened.tokenizer, [text])[0]
        _check_tokens(opened, "text", "decoder", ids)
        run = _record(opened, {"token_ids": ids}, ablate, decoder_ids=ids)
        run.next_ids = [*ids[1:], None]
        return run
    special = special_ids(opened.tokenizer)
    own = [name.name for name in opened.model.inputs]
    # BERT and similar models need special tokens around a text, other classifiers one at its end.
    start = "embedding_norm" in opened.layers and special.start is not None
    ids = encode(opened.tokenizer, [text], start=start, end=special.end is not None)[0]
    _check_tokens(opened, "text", "encoder", ids)
    inputs = {"token_ids": ids, "segment_ids": [0] * len(ids)}
    return _record(opened, {name: inputs[name] for name in own}, ablate, ids)


def source_ids(opened: OpenedModel, text: str) -> list[int]:
    """Returns the ids of a translator's source, checked."""
    ids = encode(opened.source_tokenizer, [text], end=True)[0]
    _check_tokens(opened, "text", "encoder", ids)
    return ids


def run_translation(
    opened: OpenedModel,
    source: Sequence[int],
    target: Sequence[int] | None,
    ablate: Ablate,
) -> RecordedRun:
    """Runs a translator on ids; `target`, without start and end id, is None for a greedy one."""
    special: Any = special_ids(opened.target_tokenizer)  # a translator's are never None
    made = target is None
    ids = greedy_ids(opened, source, ablate) if target is None else list(target)
    _check_tokens(opened, "target", "decoder", [special.start, *ids])
    run = _record(
        opened,
        {"source_ids": source, "target_ids": [special.start, *ids]},
        ablate,
        source,
        [special.start, *ids],
    )
    run.next_ids, run.made = [*ids, special.end], made
    return run


def greedy_ids(opened: OpenedModel, source: Sequence[int], ablate: Ablate) -> list[int]:
    """Returns the ids of the greedy translation of source ids, without the end id."""
    special: Any = special_ids(opened.target_tokenizer)
    pipeline = opened.pipeline
    limit = min(pipeline.defaults.limits([len(source)])[0], opened.limit("decoder") or 1 << 30)
    shortlist = None if pipeline.shortlist is None else pipeline.shortlist([source])
    # Compiled unless heads are switched off, which requires a recording.
    with record(opened.model, (), ablate=ablate) if ablate else contextlib.nullcontext():
        rows = generate(
            opened.model,
            [source],
            limit,
            stop_ids=(special.end,),
            start_id=special.start,
            candidate_ids=shortlist,
            **greedy_options(pipeline.defaults, opened.target_tokenizer),
        )
    return without_end(rows[0].tolist(), special.end)


def without_end(ids: Sequence[int], end_id: int) -> list[int]:
    """Returns ids up to the end id."""
    ids = list(ids)
    return ids[: ids.index(end_id)] if end_id in ids else ids


def target_text(opened: OpenedModel, ids: Sequence[int]) -> str:
    """Returns the text of target ids."""
    return decode(opened.target_tokenizer, [list(ids)], start_id=None)[0] if ids else ""


def run_picture(
    opened: OpenedModel, picture: np.ndarray, ablate: Ablate | None = None
) -> RecordedRun:
    """Runs a model on a picture (height, width, channels) of numbers in [0, 1]."""
    mean, deviation = opened.picture_scale
    images = ((picture - mean) / deviation)[None].astype("float32")
    return _record(opened, {opened.model.inputs[0].name: images}, ablate or {})


def likeliest(opened: OpenedModel, stack: str, logits: np.ndarray, count: int = BEST) -> list:
    """Returns the likeliest tokens of each row of logits (T, V), best first."""
    texts = opened.texts[stack].texts
    logits = logits.astype("float32")
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    totals = exponents.sum(axis=-1, dtype="float64")
    best = np.argpartition(-exponents, min(count, len(texts) - 1), axis=-1)[:, :count]
    found = []
    for row, chosen, total in zip(exponents, best, totals, strict=True):
        chosen = sorted(chosen.tolist(), key=lambda i: (-row[i], i))  # noqa: B023
        found.append([_token(texts, i, float(row[i]) / total) for i in chosen])
    return found


def _token(texts, index, probability):
    return {"id": index, "text": texts[index], "probability": probability}


def _check_tokens(opened, name, stack, ids):
    if not ids:
        raise Refused(
            f"`{name}` must contain a token that the model knows. Received: none.", "unknown"
        )
    opened.check_length(name, stack, len(ids))


def _record(opened, inputs, ablate, encoder_ids=(), decoder_ids=()) -> RecordedRun:
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.array([value], "int32")
        for name, value in inputs.items()
    }
    given = arrays if len(arrays) > 1 or opened.kind != "vision" else next(iter(arrays.values()))
    with record(opened.model, ablate=ablate) as trace:
        result = opened.model(given, training=False)
    result = keras.tree.map_structure(ops.convert_to_numpy, result)
    embedded = {
        f"{stack}/embedding": ops.convert_to_numpy(opened.embedding(stack)(np.array([of_stack])))[0]
        for stack, of_stack in (("encoder", encoder_ids), ("decoder", decoder_ids))
        if len(of_stack)
    }
    return RecordedRun(
        opened.kind,
        arrays,
        trace,
        result,
        list(encoder_ids),
        list(decoder_ids),
        embedded=embedded,
        ablate=ablate,
    )
