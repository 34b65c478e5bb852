"""What all batches share: an order by seed and epoch, shards of it, and a place to go on from."""

from __future__ import annotations

import hashlib
from typing import Any

import keras
import numpy as np

from keras_transformer.data.rows import check_integer


class EpochBatches(keras.utils.PyDataset):
    """A dataset whose order depends on its settings, the seed and the epoch alone.

    The plan of an epoch is a list of steps, each of `num_shards` batches: one for each worker. A
    class of batches sets `_settings` and `_corpus`, then `epoch = 0`, and makes `_plan`.
    """

    # What changes the order, by name, and a fingerprint of the ids: both go into `state`.
    _settings: dict[str, Any]
    _corpus: str

    def __init__(
        self, shuffle: bool, seed: int, num_shards: int = 1, shard_index: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_integer("seed", seed, 0)
        check_integer("num_shards", num_shards, 1)
        check_integer("shard_index", shard_index, 0)
        if shard_index >= num_shards:
            raise ValueError(
                "`shard_index` must be less than `num_shards`. "
                f"Received: shard_index={shard_index}, num_shards={num_shards}"
            )
        self.shuffle = shuffle
        self.seed = seed
        self.num_shards = num_shards
        self.shard_index = shard_index

    @property
    def epoch(self) -> int:
        """The number of the epoch, from 0."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        check_integer("epoch", value, 0)
        generator = np.random.default_rng((self.seed, value)) if self.shuffle else None
        steps = self._plan(generator)
        self._order = _fingerprint_of_plan(steps)
        self._batches = [step[self.shard_index] for step in steps]
        self._num_batches = len(self._batches)
        self._epoch = value
        self._resumed_batch: int | None = None
        self._is_short = False

    def on_epoch_end(self) -> None:
        """Moves on to the order of the next epoch."""
        if self._resumed_batch is None:
            self.epoch += 1
            return
        # Before its first epoch, `fit` asks for the number of batches, which holds for all of its
        # epochs, and ends an epoch that it has not trained: only from here on the resumed epoch
        # may be short.
        self._batches = self._batches[self._resumed_batch :]
        self._is_short = self._resumed_batch > 0
        self._resumed_batch = None

    @property
    def workers(self) -> int:
        """Number of threads or processes that make batches."""
        # Keras asks for it whenever it begins to read a dataset, just before it counts the batches
        # for all epochs to come: a short epoch that was broken off must not be what it counts.
        self._is_short = False
        return super().workers

    @workers.setter
    def workers(self, value: int) -> None:
        keras.utils.PyDataset.workers.fset(self, value)

    def __len__(self) -> int:
        """Number of batches, the same in every epoch and shard."""
        return len(self._batches) if self._is_short else self._num_batches

    @property
    def num_batches(self) -> int:
        """Number of batches, as Keras asks for it."""
        if self._is_short:
            return len(self)
        length = _EpochLength(self._num_batches)
        length._dataset = self
        return length

    def state(self, batch: int = 0) -> dict[str, Any]:
        """Says where training stands, for `resume`.

        Args:
            batch: how many batches of the epoch `fit` is done with; in a callback's
                `on_train_batch_end(batch)` that is `batch + 1`.

        Returns:
            A dict for `json.dump`: `epoch` and `batch`, those to go on with, `settings`, what the
            order depends on, and fingerprints of the `corpus` and of the `order`. It is the same in
            all shards.

        Raises:
            ValueError: `batch` is no number of batches of this epoch.
        """
        check_integer("batch", batch, 0)
        # Counted from the beginning of the epoch, which may have begun before it was resumed.
        batch += self._resumed_batch or self._num_batches - len(self._batches)
        if batch > self._num_batches:
            raise ValueError(
                f"`batch` must be at most {self._num_batches}, the batches of an epoch. "
                f"Received: batch={batch}"
            )
        place = {"epoch": self._epoch, "batch": batch}
        order: str | None = self._order
        if batch == self._num_batches:
            place, order = {"epoch": self._epoch + 1, "batch": 0}, None
        settings = {"batches": type(self).__name__, **self._all_settings()}
        return {**place, "settings": settings, "corpus": self._corpus, "order": order}

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on where a state was taken.

        The next `model.fit` begins with exactly that batch; its first epoch is what was left of
        the epoch, the others are whole. Pass `shuffle=False` to `fit`, here and in the run that
        was interrupted: it would shuffle the batches once more, in an order that no state knows.
        Call it before `fit`, not from a callback.
        `kt.training.SaveTraining` saves a state together with the model.

        A loop of your own begins with `batches[state["batch"]]` and ends epochs by setting `epoch`.

        Args:
            state: what `state` returned, in this process or another one.

        Raises:
            ValueError: `state` is no such dict, or was taken of another corpus, with other
                settings, or in another order.
        """
        self._check_state(state)
        self.epoch = state["epoch"]
        if state["order"] not in (None, self._order):
            raise ValueError(
                "`state` must have been taken in the same order of batches. The corpus and the "
                "settings agree: another version of this library or of NumPy must have made it."
            )
        if state["batch"] >= self._num_batches:
            raise ValueError(
                f"`state` must have a batch below {self._num_batches}. "
                f"Received: batch={state['batch']}"
            )
        self._resumed_batch = state["batch"]

    def _check_state(self, state: Any) -> None:
        """Raises unless the state belongs to the same corpus and settings."""
        expected = self.state()
        if not isinstance(state, dict) or not set(expected) <= set(state):
            raise ValueError(
                f"`state` must be a dict of {sorted(expected)}, as `state` returns it. "
                f"Received: {state!r}"
            )
        for name in ("epoch", "batch"):
            check_integer(name, state[name], 0)
        own, other = expected["settings"], state["settings"]
        differences = [
            f"{name}={other.get(name)!r} in the state, {own.get(name)!r} here"
            for name in {**own, **other}
            if other.get(name) != own.get(name)
        ]
        if state["corpus"] != expected["corpus"]:
            differences.append("the corpus is another one")
        if differences:
            raise ValueError(
                "`state` must have been taken of the same corpus with the same settings. "
                f"Received: {'; '.join(differences)}"
            )

    def _all_settings(self) -> dict[str, Any]:
        shared = {"shuffle": self.shuffle, "seed": self.seed, "num_shards": self.num_shards}
        # As JSON would give them back: no NumPy integers.
        return {
            name: value if value is None or isinstance(value, (bool, str)) else int(value)
            for name, value in {**shared, **self._settings}.items()
        }

    def _plan(self, generator: np.random.Generator | None) -> list[list[Any]]:
        """Returns the steps of an epoch, unshuffled if there is no generator.

        Each step is what the batches of all shards hold: arrays, or tuples that end with one.
        """
        raise NotImplementedError


def split_steps(rows: np.ndarray, batch_size: int, num_shards: int) -> list[list[np.ndarray]]:
    """Splits rows into steps of one batch a shard, the last one as evenly as can be.

    Args:
        rows: (N, ...), what the rows of the batches are made of.
        batch_size: most rows of a batch.
        num_shards: batches of a step.

    Returns:
        The steps, each a list of `num_shards` arrays; some may be empty in the last one.
    """
    size = batch_size * num_shards
    return [
        np.array_split(rows[start : start + size], num_shards)
        for start in range(0, len(rows), size)
    ]


def fingerprint(*arrays: np.ndarray) -> str:
    """Returns a short hash of integers, the same on every machine."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        # Shapes too: the same numbers in other rows are another corpus.
        digest.update(repr(array.shape).encode())
        flat = array.reshape(-1)
        for start in range(0, len(flat), 1 << 20):  # of a large corpus no second copy
            digest.update(flat[start : start + (1 << 20)].astype("<i8").tobytes())
    return digest.hexdigest()


def _fingerprint_of_plan(steps):
    batches = [batch[-1] if isinstance(batch, tuple) else batch for step in steps for batch in step]
    lengths = np.array([len(batch) for batch in batches])
    return fingerprint(lengths, np.concatenate([batch.reshape(-1) for batch in batches]))


class _EpochLength(int):
    """The number of batches of an epoch, which knows that a resumed epoch has fewer.

    Keras takes one number for all epochs of a `fit`, and ends each where `steps_seen >= number`.
    Of a subclass of int, Python asks `number <= steps_seen` instead, and the answer depends on the
    epoch that is running. Without it Keras would ask for one batch too many, warn that there is
    none, and on TensorFlow count one more step of the optimizer.
    """

    _dataset: EpochBatches

    def __le__(self, steps_seen: int) -> bool:
        return len(self._dataset) <= steps_seen
