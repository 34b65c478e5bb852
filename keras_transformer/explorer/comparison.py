"""Comparison of four small models, trained for a minute on this machine, on a sentence.

Shape letters: B batch, T target length, S source length, H units.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_transformer.datasets.cache_writes import only_writer
from keras_transformer.datasets.download import cache_folder
from keras_transformer.decoding.generate import generate
from keras_transformer.explorer.fields import Fields
from keras_transformer.files import open_arrays
from keras_transformer.models.recurrent import recurrent_seq2seq
from keras_transformer.models.translation import transformer
from keras_transformer.training.losses import MaskedCrossentropy
from keras_transformer.visualize.trace import record
from keras_transformer.visualize.wire import encode_tensor

MOST_WORDS = 12
_SYMBOLS = 20
_PADDING, _START, _END, _FIRST = 0, 1, 2, 3
_VOCABULARY_SIZE = _FIRST + _SYMBOLS
_HIDDEN_DIM, _BATCH_SIZE, _NUM_TESTED = 48, 64, 256
_STEPS_PER_LINE = 10
_NAMES = {
    "rnn": "Recurrent network",
    "lstm": "LSTM",
    "attention": "LSTM with attention",
    "transformer": "Transformer",
}
NOTE = (
    "Each model was trained on this machine for {steps} steps to repeat the words of a sentence in "
    "reverse order. To these models words are symbols without meaning."
)


class Comparison:
    """Four models of the same width that repeat words in reverse order.

    They are trained on first use, a few steps at a time, and kept in the cache folder of
    `kt.datasets`.

    Args:
        steps: Training steps of each model.
    """

    def __init__(self, steps: int = 400):
        self.steps = steps
        self.models: dict[str, keras.Model] = {}
        self.accuracies: dict[str, float] = {}
        self._random = np.random.default_rng(5)
        self._step = 0

    def lines(self, fields: Fields) -> Iterator[dict[str, Any]]:
        """Yields the training progress until training ends, then the answer."""
        words = fields.text().split()[:MOST_WORDS]
        while len(self.accuracies) < len(_NAMES):
            yield self._advance()
        yield self._answer(words)

    # === Training ===

    def _advance(self):
        """Loads a model or trains it for a few steps; all clients share this training."""
        kind = list(_NAMES)[len(self.accuracies)]
        if kind not in self.models:
            self.models[kind] = _make(kind)
            self._step = 0
            self._load(kind)
        elif self._step < self.steps:
            for _ in range(min(_STEPS_PER_LINE, self.steps - self._step)):
                self.models[kind].train_on_batch(*_examples(self._random, _BATCH_SIZE))
                self._step += 1
        else:
            self.accuracies[kind] = _accuracy(self.models[kind])
            self._save(kind)
        done = len(self.accuracies) + min(self._step / self.steps, 1.0) * (
            kind not in self.accuracies
        )
        return {"progress": done / len(_NAMES), "what": _NAMES[kind]}

    def _path(self, kind) -> Path:
        return cache_folder() / f"explorer-reversal-1-{kind}-{self.steps}.npz"

    def _load(self, kind):
        """Loads trained weights from the cache; if they are damaged, the model trains again."""
        model, path = self.models[kind], self._path(kind)
        if not path.is_file():
            return
        try:
            with open_arrays(path) as saved:
                model.set_weights([saved.read(str(i)) for i in range(len(model.weights))])
                self.accuracies[kind] = float(saved.read("accuracy"))
        except ValueError:
            self.models[kind] = _make(kind)

    def _save(self, kind):
        arrays = {str(i): array for i, array in enumerate(self.models[kind].get_weights())}
        path = self._path(kind)
        try:
            with only_writer(path.parent) as temporary:
                complete = temporary / path.name
                np.savez(complete, accuracy=self.accuracies[kind], **arrays)  # type: ignore[arg-type]
                os.replace(complete, path)
        except OSError:  # the folder cannot be written to: the model is trained again next time
            return

    # === The answer ===

    def _answer(self, words: Sequence[str]) -> dict[str, Any]:
        symbols = _symbols(words)
        source = [symbols[word] for word in words] + [_END]
        answers = [self._one(kind, source, symbols) for kind in _NAMES]
        note = NOTE.format(steps=self.steps)
        return {"tokens": [*words, "<end>"], "note": note, "models": answers}

    def _one(self, kind, source, symbols):
        texts = {symbol: word for word, symbol in symbols.items()}
        texts |= {_START: "<start>", _END: "<end>"}
        model = self.models[kind]
        with record(model, ()):  # runs eagerly, without compiling
            row = generate(
                model,
                [source],
                MOST_WORDS + 1,
                stop_ids=(_END,),
                start_id=_START,
                banned_ids=(_PADDING, _START),
            )[0].tolist()
        written = row[: row.index(_END) + 1] if _END in row else row
        read = [_START, *written[:-1]]
        with record(model, ("*/state", "*/*_gate", "*/weights")) as trace:
            model({"source_ids": np.array([source]), "target_ids": np.array([read])})
        columns = [texts[symbol] for symbol in source]
        rows = [texts.get(symbol, "?") for symbol in read]
        return {
            "name": _NAMES[kind],
            "kind": kind,
            "note": f"{model.count_params():,} weights.",
            "tensors": list(_tensors(trace, rows, columns)),
            "output": [texts.get(symbol, "?") for symbol in written if symbol != _END],
            "accuracy": self.accuracies[kind],
        }


def _tensors(trace, rows, columns):
    """States and gates (T, H) or (S, H), and the attention weights of each head."""
    for name in trace:
        path, _, what = name.rpartition("/")
        side = columns if name.startswith("encoder") else rows
        if what != "weights":
            kind = "state" if what == "state" else "gate"
            text = f"{path.split('/')[0]}: {what.replace('_', ' ')}"
            yield {"name": text, "what": kind, "rows": side, "columns": None} | {
                "tensor": encode_tensor(trace[name][0])
            }
            continue
        keys = side if path.endswith("self_attention") else columns
        for head, weights in enumerate(trace[name][0]):
            own = "attends to itself" if keys is side else "attends to the source"
            of_head = f", head {head + 1}" if len(trace[name][0]) > 1 else ""
            text = f"{path.split('/')[0]} {own}{of_head}"
            yield {"name": text, "what": "weights", "rows": side, "columns": keys} | {
                "tensor": encode_tensor(weights)
            }


def _symbols(words: Sequence[str]) -> dict[str, int]:
    """Gives each word its own symbol, the same in every sentence unless it is taken."""
    found: dict[str, int] = {}
    for word in dict.fromkeys(words):
        symbol = zlib.crc32(word.lower().encode("utf-8")) % _SYMBOLS
        while _FIRST + symbol in found.values():
            symbol = (symbol + 1) % _SYMBOLS
        found[word] = _FIRST + symbol
    return found


def _make(kind: str) -> keras.Model:
    if kind == "transformer":
        model = transformer(
            _VOCABULARY_SIZE,
            num_layers=1,
            num_heads=2,
            hidden_dim=_HIDDEN_DIM,
            intermediate_dim=2 * _HIDDEN_DIM,
            dropout=0.0,
            normalize_first=True,
        )
    else:
        model = recurrent_seq2seq(
            _VOCABULARY_SIZE,
            cell="simple" if kind == "rnn" else "lstm",
            bidirectional=False,
            attention="luong" if kind == "attention" else None,
            hidden_dim=_HIDDEN_DIM,
            dropout=0.0,
        )
    optimizer = keras.optimizers.Adam(4e-3, clipnorm=1.0)
    # Compiling to XLA would take longer than the training.
    model.compile(optimizer, MaskedCrossentropy(), jit_compile=False)
    return model


def _examples(random: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random sentences of symbols, and the same sentences in reverse order, padded."""
    source, target, labels = (np.zeros((count, MOST_WORDS + 1), "int32") for _ in range(3))
    for row in range(count):
        length = random.integers(1, MOST_WORDS + 1)
        words = random.integers(_FIRST, _VOCABULARY_SIZE, length)
        source[row, :length], source[row, length] = words, _END
        labels[row, :length], labels[row, length] = words[::-1], _END
        target[row, 0], target[row, 1 : length + 1] = _START, words[::-1]
    return {"source_ids": source, "target_ids": target}, labels


def _accuracy(model: keras.Model) -> float:
    """The fraction of words predicted correctly in new sentences, with teacher forcing."""
    inputs, labels = _examples(np.random.default_rng(6), _NUM_TESTED)
    found = ops.convert_to_numpy(ops.argmax(model(inputs, training=False), axis=-1))
    return float((found == labels)[labels > _END].mean())
