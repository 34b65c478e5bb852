"""Datasets whose workers prepare batches ahead of time, in the order requested."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import keras


class ReadAheadDataset(keras.utils.PyDataset):
    """A `keras.utils.PyDataset` that runs its own workers.

    Keras's workers restart at the first batch whenever an epoch begins, after returning leftovers
    of the previous one. If `fit` reads a batch to build the model, or ends an epoch by
    `steps_per_epoch`, some batches appear twice and others never. Here workers only prepare the
    batches requested next, so their number does not change the result. They need batches to be
    read in order: with `shuffle=True` in `fit`, they are not used.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._forget_ahead()

    @property
    def workers(self) -> int:
        """Number of threads or processes that prepare batches ahead; 1 makes each on request."""
        workers = _Workers(self._workers)
        workers._dataset = self
        return workers

    @workers.setter
    def workers(self, value: int) -> None:
        keras.utils.PyDataset.workers.fset(self, int(value))

    def __getitem__(self, index: int) -> Any:
        """Returns one batch.

        Args:
            index: Index of the batch.

        Returns:
            The batch for `model.fit`, as described in the class.
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
        """Returns the epoch of a batch and its index in the epoch."""
        return 0, index

    def _make_batch(self, index: int) -> Any:
        """Makes a batch of the current epoch."""
        raise NotImplementedError

    def _go_to(self, epoch: int) -> None:
        """Called before a batch is made in another process, whose copy may be an epoch behind."""

    def _begin_reading(self) -> None:
        """Called, possibly twice, when Keras is about to read the dataset."""
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
        """Returns the batch as a future, if a worker makes it, and schedules the next ones."""
        with self._lock:
            in_order = index in (0, self._last_index + 1)
            self._last_index = index
            # Earlier batches will not be requested.
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
    """A number of workers that keeps Keras from starting its own.

    Keras evaluates `workers > 1` only when it is about to read a dataset, and starts its own
    workers if it is true.
    """

    _dataset: ReadAheadDataset

    def __gt__(self, other: int) -> bool:
        self._dataset._begin_reading()
        return False

    def __reduce__(self) -> tuple:
        return int, (int(self),)


# The dataset of a worker process.
_kept: list[ReadAheadDataset] = []


def _keep(dataset):
    _kept[:] = [dataset]


def _make_in_process(epoch, index):
    _kept[0]._go_to(epoch)
    return _kept[0]._make_batch(index)
