"""Batches of every kind over one small corpus, for what all kinds share."""

import numpy as np

import keras_transformer as kt

random = np.random.default_rng(3)
ROWS = [random.integers(4, 50, length).tolist() for length in random.integers(2, 14, 101)]
OTHERS = [random.integers(4, 50, length).tolist() for length in random.integers(2, 14, 101)]


def translation(corpus=ROWS, **arguments):
    arguments = {"tokens_per_batch": 64, "max_shapes": 3, **arguments}
    return kt.data.TranslationBatches(corpus, OTHERS[: len(corpus)], **arguments)


def language_model(corpus=ROWS, **arguments):
    ids = [token_id for row in corpus for token_id in row]
    return kt.data.LanguageModelBatches(ids, **{"length": 7, "batch_size": 5, **arguments})


def masked_language_model(corpus=ROWS, **arguments):
    ids = [token_id for row in corpus for token_id in row]
    arguments = {"length": 7, "batch_size": 5, "mask_id": 3, "vocabulary_size": 50, **arguments}
    return kt.data.MaskedLanguageModelBatches(ids, **arguments)


def task(corpus=ROWS, **arguments):
    labels = [sum(row) % 3 for row in corpus]
    return kt.data.TaskBatches(corpus, labels, **{"batch_size": 5, "max_shapes": 2, **arguments})


def packed(corpus=ROWS, **arguments):
    return kt.data.PackedBatches(corpus, **{"length": 17, "batch_size": 3, **arguments})


KINDS = {
    "translation": translation,
    "language_model": language_model,
    "masked_language_model": masked_language_model,
    "task": task,
    "packed": packed,
}


def examples(batches):
    """What the batches hold of real examples, each as a tuple of its rows' ids and labels."""
    found = []
    for inputs, labels, *weights in batches:
        real = next(iter(inputs.values())).any(axis=-1)
        if weights:
            real = weights[0] > 0
        for row in np.flatnonzero(real):
            arrays = [*(ids[row] for ids in inputs.values()), labels[row]]
            found.append(tuple(tuple(np.trim_zeros(np.atleast_1d(x), "b")) for x in arrays))
    return found


def shapes(batches):
    return [(*(x.shape for x in inputs.values()), labels.shape) for inputs, labels, *_ in batches]
