"""Batches of several corpora in given shares."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_transformer.checks import check_above, check_as_many, check_integer
from keras_transformer.data.batches.epoch_batches import EpochBatches
from keras_transformer.data.batches.epoch_plans import fingerprint


class MixedBatches(EpochBatches):
    r"""Batches of several corpora, mixed in given shares.

    Every batch comes from one corpus and is made by that corpus's dataset. For example, mix a small
    corpus of a new domain with a large general one, so that a translator learns the new domain
    without forgetting the rest.

    The share of corpus k is $w_k / \sum_j w_j$ with `weights`, or $n_k^{1/\tau} / \sum_j
    n_j^{1/\tau}$ with a `temperature` $\tau$, where $n_k$ is its number of batches. With a
    temperature of 1, shares are proportional to the sizes; higher ones give small corpora more. In
    each epoch, every corpus contributes at least one batch and is read from the start, in a new
    order if its dataset shuffles. A corpus shorter than its share is repeated; only part of a
    longer one is read, a different part every time if its dataset shuffles.

    Args:
        datasets: Two or more datasets of this package, such as `TranslationBatches`, with items of
            the same structure and the same shards. Do not use them elsewhere: the mixture changes
            their epochs.
        weights: A positive number for each dataset; None to use a temperature.
        temperature: $\tau$, only without `weights`; None for 1.
        num_batches: Batches per epoch; None for the total of all datasets.
        shuffle: Whether the corpora alternate at random instead of evenly.
        seed: Non-negative integer. The order of the corpora depends only on it and the epoch.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`, the number of threads
            that prepare the next batches.

    Raises:
        ValueError: If there are fewer than two datasets, they differ in structure or shards, a
            weight or the temperature is not positive, both are given, or there are fewer batches
            than datasets.

    Example:
        >>> import keras_transformer as kt
        >>> small = kt.data.TaskBatches([[5, 6]] * 4, [0] * 4, batch_size=2)
        >>> large = kt.data.TaskBatches([[7, 8]] * 60, [1] * 60, batch_size=2)
        >>> mixed = kt.data.MixedBatches([small, large], weights=[1, 3], num_batches=8)
        >>> sum(int(labels[0]) for _, labels in mixed)
        6

    Reference:
        Arivazhagan et al. 2019, "Massively Multilingual Neural Machine Translation in the Wild",
        section 4.2 (temperature); Luong and Manning 2015, "Stanford Neural Machine Translation
        Systems for Spoken Language Domains" (mixing domains).
    """

    def __init__(
        self,
        datasets: Sequence[EpochBatches],
        weights: Sequence[float] | None = None,
        temperature: float | None = None,
        num_batches: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self._datasets = _checked(datasets)
        first = self._datasets[0]
        super().__init__(shuffle, seed, first.num_shards, first.shard_index, **kwargs)
        sizes = np.array([len(dataset) for dataset in self._datasets])
        num_batches = int(sizes.sum()) if num_batches is None else num_batches
        check_integer(len(sizes), num_batches=num_batches)
        self.shares = _shares(sizes, weights, temperature)
        self._counts = _apportion(num_batches, self.shares)
        self._settings = {"mixed_batches": num_batches}
        states = [dataset.state() for dataset in self._datasets]
        corpora = [[state["settings"], state["corpus"]] for state in states]
        described = json.dumps([corpora, self._counts.tolist()], sort_keys=True)
        self._corpus = fingerprint(np.frombuffer(described.encode(), "uint8"))
        self._turns = threading.Lock()
        self.epoch = 0

    def _plan(self, generator: np.random.Generator | None) -> list[list[Any]]:
        """Returns the steps; each shard's batch is a dataset, its epoch, and an index in it."""
        turns = np.repeat(np.arange(len(self._counts)), self._counts)
        if generator is None:
            # Evenly: batch i of n is placed at (i + 1/2) / n of the epoch.
            places = [(np.arange(count) + 0.5) / count for count in self._counts]
            turns = turns[np.argsort(np.concatenate(places), kind="stable")]
        else:
            turns = generator.permutation(turns)
        seen = [0] * len(self._datasets)
        entries = []
        for turn in turns:
            entries.append((int(turn), *self._part_of(turn, seen[turn])))
            seen[turn] += 1
        # On TensorFlow, Keras infers the fixed axes from the first two batches and fails on later
        # batches of another size.
        entries = self._most_different_first(entries)
        batches = [(turn, epoch, np.array([turn, epoch, index])) for turn, epoch, index in entries]
        return [[batch] * self.num_shards for batch in batches]

    def _part_of(self, turn, index) -> tuple[int, int]:
        """Returns the epoch and index, within a dataset, of the index-th batch taken from it."""
        length = len(self._datasets[turn])
        epochs = -(-int(self._counts[turn]) // length)  # of the dataset, per epoch of the mixture
        return self._epoch * epochs + index // length, index % length

    def _most_different_first(self, entries):
        candidates = [
            place
            for turn in range(len(self._datasets))
            for place in [p for p, entry in enumerate(entries) if entry[0] == turn][:2]
        ]
        shapes = {place: self._shapes(*entries[place]) for place in candidates}

        def differences(pair):
            return sum(a != b for a, b in zip(shapes[pair[0]], shapes[pair[1]], strict=True))

        # The earliest pair, if several differ equally.
        first, second = max(itertools.combinations(sorted(candidates), 2), key=differences)
        rest = [entry for place, entry in enumerate(entries) if place not in (first, second)]
        return [entries[first], entries[second], *rest]

    def _shapes(self, turn, epoch, index) -> list[int]:
        arrays = keras.tree.flatten(self._make(turn, epoch, index))
        return [size for array in arrays for size in array.shape[1:]]

    def _make(self, turn, epoch, index) -> Any:
        # A dataset is in one epoch at a time, but several workers may request batches from it.
        with self._turns:
            self._datasets[turn]._go_to(epoch)
            return self._datasets[turn]._make_batch(index)

    def _make_batch(self, index: int) -> Any:
        """Returns one batch of one of the datasets.

        Args:
            index: Index of the batch.

        Returns:
            The batch, as made by its dataset.
        """
        turn, epoch, index_in_dataset = self._batches[index][-1].tolist()
        return self._make(turn, epoch, index_in_dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_turns"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._turns = threading.Lock()


def _checked(datasets) -> list[EpochBatches]:
    datasets = list(datasets)
    if len(datasets) < 2 or not all(isinstance(one, EpochBatches) for one in datasets):
        raise ValueError(
            "`datasets` must contain two or more datasets of `kt.data`. Received: "
            f"{[type(one).__name__ for one in datasets]}."
        )
    if len({id(one) for one in datasets}) < len(datasets):
        raise ValueError("`datasets` must be distinct. Received: the same dataset twice.")
    shards = {(one.num_shards, one.shard_index) for one in datasets}
    if len(shards) > 1:
        raise ValueError(
            "`datasets` must have the same `num_shards` and `shard_index`. Received: "
            f"{sorted(shards)}."
        )
    structures = {_structure(one) for one in datasets}
    if len(structures) > 1:
        raise ValueError(
            f"`datasets` must have items of the same structure. Received: {sorted(structures)}."
        )
    return datasets


def _structure(dataset) -> str:
    """Returns a description of the names, types and ranks of a dataset's items."""
    return repr(keras.tree.map_structure(lambda a: f"{a.dtype}, rank {a.ndim}", dataset[0]))


def _shares(sizes, weights, temperature) -> np.ndarray:
    if weights is not None and temperature is not None:
        raise ValueError(
            "`weights` and `temperature` must not both be given. "
            f"Received: weights={weights!r}, temperature={temperature!r}."
        )
    if weights is None:
        check_above(0, temperature=1.0 if temperature is None else temperature)
        parts = sizes.astype("float64") ** (1.0 / (temperature or 1.0))
    else:
        check_as_many(weights=weights, datasets=sizes)
        for index, weight in enumerate(weights):
            check_above(0, **{f"weights[{index}]": weight})
        parts = np.asarray(weights, "float64")
    return parts / parts.sum()


def _apportion(total: int, shares: np.ndarray) -> np.ndarray:
    """Splits a number of batches by shares (largest-remainder method), at least one each."""
    exact = shares * total
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    for index in np.flatnonzero(counts == 0):
        counts[index] += 1
        counts[np.argmax(counts)] -= 1
    return counts
