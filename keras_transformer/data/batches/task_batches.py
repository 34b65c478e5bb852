"""Batches of a task's examples with their labels, for `model.fit` on every backend.

Shape letters: N examples, B batch, K rows per example, T length.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_transformer.checks import check_integer
from keras_transformer.data.batches.buckets import round_up
from keras_transformer.data.batches.epoch_batches import EpochBatches
from keras_transformer.data.batches.epoch_plans import fingerprint, split_steps
from keras_transformer.data.batches.task_labels import Labels, read_labels

_Batch = tuple[int, int, np.ndarray]  # length T, number of real examples, all examples


class TaskBatches(EpochBatches):
    """Batches of labeled examples, each of one or several rows of ids.

    Each item is `({"token_ids": ids}, labels)`: int32 ids (B, T) if an example is one row, or
    (B, K, T) if it has K rows (`similarity_rows`, `choice_rows`), and the labels of the task. Rows
    are padded at the end. They also serve as labels of the auxiliary language-model loss of
    `kt.models.classifier`, which finds where each row ends.

    | labels | task | in a batch |
    |---|---|---|
    | N integers | `classifier`, `multiple_choice` | int32 (B,) |
    | N floats, or N lists of K floats | `regressor` | float32 (B,) or (B, K) |
    | N lists of integers, one per token, -1 for tokens that do not count | `token_classifier` | \
int32 (B, T), and sample weights (B, T): 0 for padding and tokens that do not count |
    | dict of N integers by name | `span_extractor` | dict of int32 (B,) |

    With `shuffle`, examples of similar length share one of at most `max_shapes` lengths T, because
    XLA compiles a program for each. Without it they keep their order, all with the largest T, so
    that `model.predict` returns one prediction per example in order. The last batch of each T may
    be smaller.

    With `num_shards`, workers that train together share one plan: all get the same number of
    batches, of the same shape in every step, and every example goes to exactly one worker. The
    examples of the last step of each T are split evenly; a shard with one fewer, or none, repeats
    an example. Items with labels then include sample weights (B,) or (B, T): 1.0, and 0.0 for
    repeated examples, which then count only in the auxiliary language-model loss.

    Args:
        rows: N lists of ids, or N lists of K lists of ids.
        labels: Labels as in the table; None for batches without labels, for `predict`.
        batch_size: B, examples per batch and shard.
        max_shapes: Maximum number of distinct T.
        shuffle: Whether examples and batches are reordered every epoch.
        seed: Non-negative integer. The order depends only on it and the epoch.
        vocabulary_size: Ids must be below it; None skips the check.
        padding_id: Id that rows are padded with.
        segment_ids: N lists of segment ids like `rows`, for an input `segment_ids`; None for no
            such input.
        num_shards: Number of workers that train together, each with its own dataset.
        shard_index: Index of this worker, from 0.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`, the number of threads
            that prepare batches ahead if `fit` is called with `shuffle=False`.

    Raises:
        ValueError: If there are no examples, a row is empty or its ids are out of range, K varies,
            `labels` are not one of the kinds in the table, or `segment_ids` do not match the rows.

    Example:
        >>> import keras_transformer as kt
        >>> rows = kt.data.text_rows([[5, 6], [7]], start_id=20, extract_id=21, max_length=8)
        >>> batches = kt.data.TaskBatches(rows, [1, 0], batch_size=2, shuffle=False)
        >>> inputs, labels = batches[0]
        >>> inputs["token_ids"].tolist(), labels.tolist()
        ([[20, 5, 6, 21], [20, 7, 21, 0]], [1, 0])
    """

    def __init__(
        self,
        rows: Sequence[Any],
        labels: Any = None,
        batch_size: int = 32,
        max_shapes: int = 4,
        shuffle: bool = True,
        seed: int = 0,
        vocabulary_size: int | None = None,
        num_shards: int = 1,
        shard_index: int = 0,
        *,
        padding_id: int = 0,
        segment_ids: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle, seed, num_shards, shard_index, **kwargs)
        check_integer(1, batch_size=batch_size)
        check_integer(1, max_shapes=max_shapes)
        self._examples, self._rows_per_example = _examples(rows)
        _check_ids(self._examples, vocabulary_size)
        check_integer(0, padding_id=padding_id)
        self._labels = None if labels is None else self._read_labels(labels)
        self._segments = None if segment_ids is None else self._read_segments(segment_ids)
        self.batch_size, self.padding_id = batch_size, padding_id
        lengths = np.array([max(map(len, example)) for example in self._examples])
        self._widths = _widths(lengths, max_shapes if shuffle else 1)
        self._width_of = self._widths[np.searchsorted(self._widths, lengths)]
        self._settings = {"batch_size": batch_size, "max_shapes": max_shapes}
        self._corpus = _fingerprint(self._examples, self._segments, self._labels)
        self.epoch = 0

    def _read_labels(self, labels):
        lengths = [len(rows[0]) for rows in self._examples]
        one_row = self._rows_per_example is None
        return read_labels(labels, lengths if one_row else None, len(self._examples))

    def _read_segments(self, segment_ids):
        segments, rows_per_example = _examples(segment_ids, "segment_ids")
        _check_ids(segments, None, "segment_ids")
        shapes = (
            [list(map(len, example)) for example in each] for each in (segments, self._examples)
        )
        if rows_per_example != self._rows_per_example or next(shapes) != next(shapes):
            raise ValueError(
                "`segment_ids` must have the lengths of `rows`. "
                f"Received: {reprlib.repr(segment_ids)}."
            )
        return segments

    def _plan(self, generator: np.random.Generator | None) -> list[list[_Batch]]:
        """Returns the steps; a batch is its length T, number of real examples, and examples."""
        steps: list[list[_Batch]] = []
        firsts = []
        for width in self._widths:
            members = np.flatnonzero(self._width_of == width)
            if generator is not None:
                members = generator.permutation(members)
            firsts.append(len(steps))
            for step in split_steps(members, self.batch_size, self.num_shards):
                steps.append([(int(width), len(batch), _fill(batch, step[0])) for batch in step])
        if generator is None:
            return steps
        # On TensorFlow, Keras infers the fixed axes from the first two batches and fails on later
        # batches of another size, so these two must differ in T.
        first_two = firsts[:2] if len(firsts) > 1 else []
        order = [index for index in generator.permutation(len(steps)) if index not in first_two]
        return [steps[index] for index in [*first_two, *order]]

    def _make_batch(self, index: int) -> Any:
        """Returns inputs and labels of one batch, or `(inputs,)` without labels.

        Args:
            index: Index of the batch.

        Returns:
            `({"token_ids": (B, T) or (B, K, T)}, labels)`; sample weights in float32 come third
            with labels of tokens, or with `num_shards` above 1.
        """
        width, num_real, members = self._batches[index]
        inputs = {"token_ids": self._padded(self._examples, members, width, self.padding_id)}
        if self._segments is not None:
            inputs["segment_ids"] = self._padded(self._segments, members, width, 0)
        if self._labels is None:
            return (inputs,)
        labels, weights = self._labels.batch(members, width)
        if self.num_shards > 1:
            is_real = (np.arange(len(members)) < num_real).astype("float32")
            weights = is_real if weights is None else weights * is_real[:, None]
        return (inputs, labels) if weights is None else (inputs, labels, weights)

    def _padded(self, examples, members, width, padding_id) -> np.ndarray:
        """Pads the rows of some examples to (B, T), or (B, K, T)."""
        shape = (len(members), self._rows_per_example or 1, width)
        ids = np.full(shape, padding_id, dtype="int32")
        for place, member in enumerate(members):
            for row, tokens in enumerate(examples[member]):
                ids[place, row, : len(tokens)] = tokens
        return ids if self._rows_per_example else ids[:, 0]

    @property
    def num_examples(self) -> int:
        """Number of examples per epoch, over all shards."""
        return len(self._examples)


def _fill(batch: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Repeats an example until the batch is as large as the largest of its step."""
    missing = len(largest) - len(batch)
    return np.append(batch, np.repeat(largest[:1], missing))


def _fingerprint(
    examples: list[list[list[int]]], segments: list[list[list[int]]] | None, labels: Labels | None
) -> str:
    rows = [row for example in [*examples, *(segments or [])] for row in example]
    lengths = np.array([len(row) for row in rows])
    ids = np.concatenate([np.asarray(row, dtype="int64") for row in rows])
    counts = np.array([len(example) for example in examples])
    return fingerprint(counts, lengths, ids, *([] if labels is None else labels.arrays()))


def _examples(rows: Sequence[Any], name: str = "rows") -> tuple[list[list[list[int]]], int | None]:
    """Returns each example as a list of rows, and K (None if each example is a single row)."""
    rows = list(rows)
    if not rows:
        raise ValueError(f"`{name}` must contain at least one example. Received: {name}=[].")
    try:
        several = isinstance(rows[0][0], (list, tuple, np.ndarray))
        examples = [list(map(list, row)) if several else [list(row)] for row in rows]
    except (TypeError, IndexError) as error:
        raise ValueError(
            f"`{name}` must contain lists of ids, or lists of lists of ids, none of them empty. "
            f"Received: {name}={reprlib.repr(rows)}."
        ) from error
    counts = sorted({len(example) for example in examples})
    if len(counts) > 1:
        raise ValueError(
            f"`{name}` must contain examples with the same number of rows. "
            f"Received: numbers of rows {counts}."
        )
    return examples, counts[0] if several else None


def _check_ids(
    examples: list[list[list[int]]], vocabulary_size: int | None, name: str = "rows"
) -> None:
    upper = np.iinfo("int32").max if vocabulary_size is None else vocabulary_size - 1
    for index, example in enumerate(examples):
        for row in example:
            ids = np.asarray(row)
            # 0 may be a real token, as in GPT-1 and GPT-2: padding is what follows the end.
            if not len(row) or ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() > upper:
                raise ValueError(
                    f"`{name}` must contain rows of at least one id, integers from 0 to {upper}. "
                    f"Received: {row!r} at index {index}."
                )


def _widths(lengths: np.ndarray, max_shapes: int) -> np.ndarray:
    """Returns at most `max_shapes` lengths, each for about the same number of examples."""
    rounded = round_up(lengths)
    shares = np.linspace(0, 1, max_shapes + 1)[1:]
    return np.unique(np.quantile(rounded, shares, method="higher"))
