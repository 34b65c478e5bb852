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


def mixed(corpus=ROWS, **arguments):
    """A third of the corpus beside the rest, each once an epoch."""
    own = {key: arguments.pop(key) for key in ("workers", "max_queue_size") if key in arguments}
    seeds = {key: arguments[key] for key in ("shuffle", "seed") if key in arguments}
    parts = corpus[: len(corpus) // 3], corpus[len(corpus) // 3 :]
    return kt.data.MixedBatches([task(part, **arguments) for part in parts], **own, **seeds)


KINDS = {
    "translation": translation,
    "language_model": language_model,
    "masked_language_model": masked_language_model,
    "task": task,
    "mixed": mixed,
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
