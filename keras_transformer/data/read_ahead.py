"""Datasets whose workers make batches ahead, and give them in the order in which they are asked."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import keras


class ReadAheadDataset(keras.utils.PyDataset):
    """A `keras.utils.PyDataset` that runs its workers itself.

    Keras's own workers start over at the first batch whenever Keras begins an epoch, and hand out
    first what was left of the one before: where `fit` takes a batch to build the model, or ends an
    epoch by `steps_per_epoch`, some batches come twice and others never. Here they only make, ahead
    of time, what is asked for next, so that any number of workers gives what one does. They need
    the batches to be read in order: `fit` with `shuffle=True` reads them as if there were none.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._forget_ahead()

    @property
    def workers(self) -> int:
        """Number of threads or processes that make batches ahead; 1 makes each when asked for."""
        workers = _Workers(self._workers)
        workers._dataset = self
        return workers

    @workers.setter
    def workers(self, value: int) -> None:
        keras.utils.PyDataset.workers.fset(self, int(value))

    def __getitem__(self, index: int) -> Any:
        """Returns one batch.

        Args:
            index: Number of the batch.

        Returns:
            What `model.fit` takes, as described at the class.
        """
        place = self._place(index)
        made = self._made_ahead(index, place) if self._has_workers() else None
        return self._make_batch(place[1]) if made is None else made.result()

    def __iter__(self) -> Any:
        for index in range(len(self)):
            yield self[index]

    def __len__(self) -> int:
        """Number of batches."""
        raise NotImplementedError

    def _place(self, index: int) -> tuple[int, int]:
        """Returns what a batch depends on: the epoch, and the number of the batch in it."""
        return 0, index

    def _make_batch(self, index: int) -> Any:
        """Makes a batch of the epoch that the dataset is in."""
        raise NotImplementedError

    def _go_to(self, epoch: int) -> None:
        """Called before a batch is made in another process, whose dataset may be behind."""

    def _begin_reading(self) -> None:
        """Called when Keras is about to read the dataset; perhaps twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._forget_ahead()

    def _has_workers(self) -> bool:
        return self._workers > 1 or (self._workers > 0 and self._use_multiprocessing)

    def _forget_ahead(self) -> None:
        self._pool: Executor | None = None
        self._ahead: dict[tuple[int, int], Future] = {}
        self._last_index = -1
        self._lock = threading.Lock()

    def _made_ahead(self, index: int, place: tuple[int, int]) -> Future | None:
        """Returns what a worker makes of the batch, and has them make the next ones."""
        with self._lock:
            in_order = index in (0, self._last_index + 1)
            self._last_index = index
            # What comes before would never be asked for.
            self._ahead = {key: made for key, made in self._ahead.items() if key >= place}
            if in_order:
                pool = self._pool = self._pool or self._make_pool()
                end = min(index + 1 + self._max_queue_size, len(self))
                for wanted in map(self._place, range(index, end)):
                    if wanted not in self._ahead:
                        self._ahead[wanted] = self._submit(pool, *wanted)
            return self._ahead.pop(place, None)

    def _make_pool(self):
        if self._use_multiprocessing:
            return ProcessPoolExecutor(self._workers, initializer=_keep, initargs=(self,))
        return ThreadPoolExecutor(self._workers)

    def _submit(self, pool, epoch, index):
        if self._use_multiprocessing:
            return pool.submit(_make_in_process, epoch, index)
        return pool.submit(self._make_batch, index)

    def __getstate__(self) -> dict[str, Any]:
        # Neither pools nor locks can be pickled.
        left_out = ("_pool", "_ahead", "_last_index", "_lock")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_ahead()


class _Workers(int):
    """A number of workers of which Keras starts none.

    Keras asks `workers > 1` when it is about to read a dataset, and starts its own workers where
    that is so. It is the only time that it asks.
    """

    _dataset: ReadAheadDataset

    def __gt__(self, other: int) -> bool:
        self._dataset._begin_reading()
        return False

    def __reduce__(self) -> tuple:
        return int, (int(self),)


# The dataset of a process that makes batches.
_kept: list[ReadAheadDataset] = []


def _keep(dataset):
    _kept[:] = [dataset]


def _make_in_process(epoch, index):
    _kept[0]._go_to(epoch)
    return _kept[0]._make_batch(index)
