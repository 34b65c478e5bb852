"""What all batches share: an order by seed and epoch, shards of it, and a place to go on from."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from keras_transformer.data.plans import fingerprint
from keras_transformer.data.read_ahead import ReadAheadDataset
from keras_transformer.data.rows import check_integer


class EpochBatches(ReadAheadDataset):
    """A dataset whose order depends on its settings, the seed and the epoch alone.

    An epoch is one pass over the corpus, in which every example comes once. Keras's epochs are the
    same unless `fit` is given `steps_per_epoch`: a pass then goes on from one of them to the next,
    and the next pass begins, in its own order, where the last batch of it has been trained. An
    epoch of Keras ends with the pass, short and with a warning of Keras, where the steps do not
    divide it. Each call of `fit` begins a new pass.

    The plan of an epoch is a list of steps, each of `num_shards` batches: one for each worker. A
    class of batches sets `_settings` and `_corpus`, then `epoch = 0`, and makes `_plan` and
    `_make_batch`.
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
        self._silence: warnings.catch_warnings | None = None

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
        # What Keras reads now, as it knows it: the batches from `first` up to `end`.
        self._part = _Part(0, self._num_batches)
        # The part that it is to read first; until then it must see whole epochs.
        self._resumed: _Part | None = None
        self._is_begun = False
        # How many batches of the part Keras has trained, as it last said; None: it says nothing.
        self._seen: int | None = None
        # How many of them before its present epoch.
        self._seen_before = 0

    def _go_to(self, epoch: int) -> None:
        if epoch != self._epoch:
            self.epoch = epoch

    def _begin_reading(self) -> None:
        super()._begin_reading()
        if self._is_begun:
            self.epoch += 1
        elif self._part != _Part(0, self._num_batches):
            self._resumed = self._part
        self._part = _Part(0, self._num_batches)
        self._seen = self._seen_before = 0

    def on_epoch_end(self) -> None:
        """Moves on to the order of the next epoch; Keras calls it, also in the midst of one."""
        if self._silence is not None:
            self._silence.__exit__(None, None, None)
            self._silence = None
        if self._resumed is not None:
            # Before its first epoch, `fit` asks for the number of batches, which holds for all of
            # its epochs, and ends an epoch that it has not trained: only from here on the resumed
            # epoch may be short.
            self._part, self._resumed = self._resumed, None
            self._seen = None
        elif self._seen is not None and self._seen < len(self):
            # Keras goes on reading where it stands, or has read nothing but to build the model.
            self._seen_before = self._seen
        elif self._part.end < self._num_batches:
            self._part = _Part(self._part.end, self._num_batches)
            self._seen, self._seen_before = None, 0
        else:
            self.epoch += 1

    def _is_over(self, seen: int) -> bool:
        """Takes down how many batches Keras has trained; whether its epoch is to end here."""
        self._seen = seen
        # `predict` takes no notice of what is to be resumed.
        self._is_begun = self._is_begun or (seen > 0 and self._resumed is None)
        over = seen >= len(self)
        if over and self._part.is_cut and self._silence is None:
            # Keras warns that there were fewer batches than `steps_per_epoch`: here, as planned.
            self._silence = warnings.catch_warnings()
            self._silence.__enter__()
            warnings.filterwarnings("ignore", "Your input ran out of data")
        return over

    def __len__(self) -> int:
        """Number of batches, the same in every epoch and shard."""
        return self._part.end - self._part.first

    def _place(self, index: int) -> tuple[int, int]:
        return self._epoch, index + self._part.first

    @property
    def num_batches(self) -> int:
        """Number of batches, as Keras asks for it."""
        if len(self) < self._num_batches:
            return len(self)
        length = _EpochLength(self._num_batches)
        length._dataset = self
        return length

    def state(self, batch: int = 0, steps_per_epoch: int | None = None) -> dict[str, Any]:
        """Says where training stands, for `resume`.

        Args:
            batch: how many batches of the epoch `fit` is done with; in a callback's
                `on_train_batch_end(batch)` that is `batch + 1`.
            steps_per_epoch: what `fit` was given, None for nothing.

        Returns:
            A dict for `json.dump`: `epoch` and `batch`, those to go on with, `settings`, what the
            order depends on, fingerprints of the `corpus` and of the `order`, and `steps_left`, how
            many steps `fit` has left of its own epoch, None without `steps_per_epoch`. It is the
            same in all shards.

        Raises:
            ValueError: `batch` is no number of batches of this epoch.
        """
        check_integer("batch", batch, 0)
        if batch > self._num_batches:
            raise ValueError(
                f"`batch` must be at most {self._num_batches}, the batches of an epoch. "
                f"Received: batch={batch}"
            )
        part = self._resumed or self._part
        # With `steps_per_execution` the last of several batches may lie beyond the end.
        place = min(part.first + self._seen_before + batch, part.end)
        steps_left = None
        if steps_per_epoch is not None:
            steps_left = max(0, min(int(steps_per_epoch) - batch, part.end - place))
        epoch, order = self._epoch, self._order
        if place == self._num_batches:
            epoch, place, order = epoch + 1, 0, None
        settings = {"batches": type(self).__name__, **self._all_settings()}
        return {
            "epoch": epoch,
            "batch": place,
            "steps_left": steps_left,
            "settings": settings,
            "corpus": self._corpus,
            "order": order,
        }

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
        first = state["batch"]
        if first >= self._num_batches:
            raise ValueError(
                f"`state` must have a batch below {self._num_batches}. Received: batch={first}"
            )
        # Where the epoch of `fit` was complete there is nothing to cut.
        steps = state.get("steps_left") or self._num_batches
        end = min(first + steps, self._num_batches)
        self._resumed = _Part(first, end, bool(state.get("steps_left")))

    def _check_state(self, state: Any) -> None:
        """Raises unless the state belongs to the same corpus and settings."""
        expected = self.state()
        del expected["steps_left"]  # which is not in the files of older versions
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


def _fingerprint_of_plan(steps):
    batches = [batch[-1] if isinstance(batch, tuple) else batch for step in steps for batch in step]
    lengths = np.array([len(batch) for batch in batches])
    return fingerprint(lengths, np.concatenate([batch.reshape(-1) for batch in batches]))


class _Part(NamedTuple):
    """The batches of an epoch that Keras takes for the whole of it.

    Attributes:
        first: number of the first batch.
        end: number of the last one plus 1.
        is_cut: whether it may end before `fit` has made all steps of its epoch.
    """

    first: int
    end: int
    is_cut: bool = False


class _EpochLength(int):
    """The number of batches of an epoch, which knows that a resumed epoch has fewer.

    Keras takes one number for all epochs of a `fit`, and ends each where `steps_seen >= number`.
    Of a subclass of int, Python asks `number <= steps_seen` instead, and the answer depends on the
    epoch that is running. Without it Keras would ask for one batch too many, warn that there is
    none, and on TensorFlow count one more step of the optimizer. It also is how the dataset learns
    that an epoch of Keras has ended in the midst of a pass.
    """

    _dataset: EpochBatches

    def __le__(self, steps_seen: int) -> bool:
        return self._dataset._is_over(steps_seen)
