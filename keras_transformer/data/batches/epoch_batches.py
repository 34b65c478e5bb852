"""Base class of the batch datasets: a seeded order per epoch, shards, and resuming."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from keras_transformer.checks import check, check_integer, given
from keras_transformer.data.batches.epoch_parts import EpochLength, Part
from keras_transformer.data.batches.epoch_plans import fingerprint
from keras_transformer.data.batches.read_ahead import ReadAheadDataset


class EpochBatches(ReadAheadDataset):
    """A dataset whose order depends only on its settings, the seed and the epoch.

    An epoch is one pass over the corpus, in which every example appears once. It is also a Keras
    epoch, unless `fit` is given `steps_per_epoch`: a pass then spans several Keras epochs, and
    after its last batch the next pass starts in its own order. If `steps_per_epoch` does not
    divide the number of batches, the last Keras epoch of a pass is shorter, and Keras warns about
    it. Each call of `fit` starts a new pass.

    The plan of an epoch is a list of steps of `num_shards` batches, one per worker. Subclasses
    set `_settings` and `_corpus`, then `epoch = 0`, and implement `_plan` and `_make_batch`.
    """

    # The settings that affect the order, and a fingerprint of the ids: both are part of `state`.
    _settings: dict[str, Any]
    _corpus: str

    def __init__(
        self, shuffle: bool, seed: int, num_shards: int = 1, shard_index: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_integer(0, seed=seed)
        check_integer(1, num_shards=num_shards)
        check_integer(0, shard_index=shard_index)
        if shard_index >= num_shards:
            raise ValueError(
                "`shard_index` must be less than `num_shards`. "
                f"Received: shard_index={shard_index}, num_shards={num_shards}."
            )
        self.shuffle = shuffle
        self.seed = seed
        self.num_shards = num_shards
        self.shard_index = shard_index
        self._silence: warnings.catch_warnings | None = None

    @property
    def epoch(self) -> int:
        """Index of the current epoch, from 0."""
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        check_integer(0, epoch=value)
        self._epoch = value
        generator = np.random.default_rng((self.seed, value)) if self.shuffle else None
        steps = self._plan(generator)
        self._order = _fingerprint_of_plan(steps)
        self._batches = [step[self.shard_index] for step in steps]
        self._num_batches = len(self._batches)
        # The batches that Keras treats as the whole dataset.
        self._part = Part(0, self._num_batches)
        # The part to read first after `resume`; until then Keras must see whole epochs.
        self._resumed: Part | None = None
        self._is_begun = False
        # Batches of the current Keras epoch trained so far; None if Keras does not report them.
        self._seen: int | None = None
        # Batches of the part trained before the current Keras epoch.
        self._seen_before = 0

    def _go_to(self, epoch: int) -> None:
        if epoch != self._epoch:
            self.epoch = epoch

    def _begin_reading(self) -> None:
        super()._begin_reading()
        if self._is_begun:
            self.epoch += 1
        elif self._part != Part(0, self._num_batches):
            self._resumed = self._part
        self._part = Part(0, self._num_batches)
        self._seen = self._seen_before = 0

    def on_epoch_end(self) -> None:
        """Advances to the order of the next epoch. Keras also calls it in the middle of a pass."""
        if self._silence is not None:
            self._silence.__exit__(None, None, None)
            self._silence = None
        if self._resumed is not None:
            # Before its first epoch, `fit` reads the number of batches, which it uses for all
            # epochs, and ends an epoch without training. Only from here on may the resumed epoch
            # be short.
            self._part, self._resumed = self._resumed, None
            self._seen = None
        elif self._seen is not None and self._seen < len(self):
            # Keras continues where it is, or has only read a batch to build the model.
            self._seen_before = self._seen
        elif self._part.end < self._num_batches:
            self._part = Part(self._part.end, self._num_batches)
            self._seen, self._seen_before = None, 0
        else:
            self.epoch += 1

    def _is_over(self, seen: int) -> bool:
        """Records how many batches Keras has trained; returns whether its epoch ends here."""
        self._seen = seen
        # While a resume is pending this is `predict`, which does not start the pass.
        self._is_begun = self._is_begun or (seen > 0 and self._resumed is None)
        over = seen >= len(self)
        if over and self._part.is_cut and self._silence is None:
            # Keras warns of fewer batches than `steps_per_epoch`, which is intended here.
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
        """Number of batches, as read by Keras."""
        if len(self) < self._num_batches:
            return len(self)
        length = EpochLength(self._num_batches)
        length._dataset = self
        return length

    def state(self, batch: int = 0, steps_per_epoch: int | None = None) -> dict[str, Any]:
        """Returns the training position, for `resume`.

        Args:
            batch: Number of batches of the epoch that `fit` has finished; `batch + 1` in a
                callback's `on_train_batch_end(batch)`.
            steps_per_epoch: The value passed to `fit`, None if it was not set.

        Returns:
            A JSON-serializable dict, the same in all shards: the `epoch` and `batch` to continue
            with, the `settings` that affect the order, fingerprints of the `corpus` and the
            `order`, and `steps_left` in the Keras epoch (None without `steps_per_epoch`).

        Raises:
            ValueError: If `batch` is negative or exceeds the number of batches.
        """
        check_integer(0, batch=batch)
        if batch > self._num_batches:
            raise ValueError(
                f"`batch` must be at most {self._num_batches}, the number of batches per epoch. "
                f"Received: batch={batch}."
            )
        part = self._resumed or self._part
        # With `steps_per_execution`, the last group of batches may extend beyond the end.
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
        """Continues from a saved state.

        The next `model.fit` starts with the recorded batch: its first epoch is the rest of the
        interrupted one, later epochs are whole. Pass `shuffle=False` to `fit`, both here and in
        the interrupted run, because `fit` would otherwise shuffle the batches again, in an order
        that the state does not record. Call `resume` before `fit`, not from a callback.
        `kt.training.SaveTraining` saves the state together with the model.

        A custom training loop starts at `batches[state["batch"]]` and sets `epoch` for each new
        epoch.

        Args:
            state: A dict returned by the method `state`, in this or another process.

        Raises:
            ValueError: If `state` is not such a dict, or comes from another corpus, other
                settings or another order. The position is then unchanged.
        """
        self._check_state(state)
        before = dict(vars(self))
        try:
            self._resume(state)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _resume(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        if state["order"] not in (None, self._order):
            raise ValueError(
                "`state` must come from the same order of batches. The corpus and settings match, "
                "so another version of this library or of NumPy must have made it. "
                f"Received: order={state['order']!r}, here {self._order!r}."
            )
        first = state["batch"]
        if first >= self._num_batches:
            raise ValueError(
                f"`batch` in `state` must be below {self._num_batches}. Received: batch={first}."
            )
        # If the Keras epoch was complete, nothing is cut.
        steps = state.get("steps_left") or self._num_batches
        end = min(first + steps, self._num_batches)
        self._resumed = Part(first, end, bool(state.get("steps_left")))

    def batch_in_training(self, batch: int) -> Any:
        """Makes a batch once more, to examine it during training.

        Args:
            batch: Index of the batch in the current epoch of `fit`, as callbacks receive it.

        Returns:
            The batch, provided that `fit` was called with `shuffle=False`.
        """
        return self._make_batch(self.state(batch)["batch"])

    def _check_state(self, state: Any) -> None:
        """Raises unless the state belongs to the same corpus and settings."""
        expected = self.state()
        del expected["steps_left"]  # absent from files of older versions
        if not isinstance(state, dict) or not set(expected) <= set(state):
            raise ValueError(
                f"`state` must be a dict with {sorted(expected)}, as the method `state` returns. "
                f"Received: {state!r}."
            )
        for name in ("epoch", "batch"):
            check_integer(0, **{name: state[name]})
        check_integer(0, **given(steps_left=state.get("steps_left")))
        check(state["epoch"] < 2**31, "be below 2^31", "epoch", state["epoch"])
        check(isinstance(state["settings"], dict), "be a dict", "settings", state["settings"])
        own, other = expected["settings"], state["settings"]
        differences = [
            f"{name}={other.get(name)!r} in the state, {own.get(name)!r} here"
            for name in {**own, **other}
            if other.get(name) != own.get(name)
        ]
        if state["corpus"] != expected["corpus"]:
            differences.append("a different corpus")
        if differences:
            raise ValueError(
                "`state` must come from the same corpus and settings. "
                f"Received: {'; '.join(differences)}."
            )

    def _all_settings(self) -> dict[str, Any]:
        shared = {"shuffle": self.shuffle, "seed": self.seed, "num_shards": self.num_shards}
        # As JSON restores them: no NumPy integers.
        return {
            name: value if value is None or isinstance(value, (bool, str)) else int(value)
            for name, value in {**shared, **self._settings}.items()
        }

    def _plan(self, generator: np.random.Generator | None) -> list[list[Any]]:
        """Returns the steps of an epoch, unshuffled if `generator` is None.

        Each step lists the batches of all shards: arrays, or tuples that end with an array.
        """
        raise NotImplementedError


def _fingerprint_of_plan(steps):
    batches = [batch[-1] if isinstance(batch, tuple) else batch for step in steps for batch in step]
    lengths = np.array([len(batch) for batch in batches])
    return fingerprint(lengths, np.concatenate([batch.reshape(-1) for batch in batches]))
