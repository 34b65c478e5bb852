"""Greedy decoding without a cache: the whole sequence passes the model for each new token."""

import numpy as np

from tests.harness import randomize, to_numpy
from tests.laws.models import make_case

START = 2


_cases = {}


def enliven(model):
    """Weights that give each prompt a continuation of its own, which few random weights do.

    Biases drown what the tokens say, and a small attention hides what the source says.
    """
    randomize(model, stddev=1.0)
    for weight in model.weights:
        if weight.path.endswith(("beta", "bias")):
            weight.assign(0.2 * to_numpy(weight.value))
        if "cross_attention" in weight.path and weight.path.endswith(
            ("value/kernel", "output/kernel")
        ):
            weight.assign(4.0 * to_numpy(weight.value))
    return model


def lively_case(name):
    """One of the models of the laws with such weights."""
    if name not in _cases:
        case = make_case(name)
        enliven(case.model)
        _cases[name] = case
    return _cases[name]


def uncached_greedy(case, rows, steps, width, sources=None, banned_ids=(), stop_ids=()):
    """Continues rows of ids; returns what was generated, rows of lists."""
    rows = [list(row) for row in rows]
    generated = [[] for _ in rows]
    for _ in range(steps):
        ids = np.zeros((len(rows), width), "int32")
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
        logits = to_numpy(case(ids, sources))
        logits[..., list(banned_ids)] = -np.inf
        for index, row in enumerate(rows):
            if generated[index] and generated[index][-1] in stop_ids:
                continue
            token = int(logits[index, len(row) - 1].argmax())
            row.append(token)
            generated[index].append(token)
    return generated


def padded(rows, width=None):
    """Rows of ids as an array with 0 on the right."""
    ids = np.zeros((len(rows), width or max(map(len, rows))), "int32")
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    return ids
