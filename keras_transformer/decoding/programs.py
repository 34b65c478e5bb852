"""What is compiled for a model, kept for as long as it fits the model.

Shape letters: none, these are dictionaries.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple

import keras

from keras_transformer.decoding.fingerprint import Same, describe, fingerprint

# Of one model: with one adapter and another, say; and what `generate` is asked for in turn.
_MOST_FORMS = 4
_MOST_SETTINGS = 64


class Programs(NamedTuple):
    """What a decoding run needs, from its first token to its last.

    Attributes:
        model: the model.
        settings: what its programs depend on beside the model and the shapes of tensors.
        weights: the values of the model's variables, in the order of its `fingerprint`.
        compiled: the programs for these settings and this form of the model, by their functions.
        shared: what all programs of the model share, by its class.
    """

    model: keras.Model
    settings: Any
    weights: list
    compiled: dict
    shared: dict


class _Kept(NamedTuple):
    forms: OrderedDict
    shared: dict


# It goes when the model goes.
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def programs_of(model: keras.Model, settings: Any) -> Programs:
    """Finds what was compiled for a model as it is now.

    It takes a millisecond or so: once for a run, and not for each of its tokens.

    Args:
        model: the model.
        settings: a named tuple of plain values and callables.

    Returns:
        The `Programs`.
    """
    structure, variables = fingerprint(model)
    weights = [variable.value for variable in variables]
    # JAX is handed the weights. Other programs hold on to those that they were made with: new
    # values in them are seen, but not new weights in their place.
    held = () if keras.backend.backend() == "jax" else tuple(map(Same, weights))
    kept = _kept.setdefault(model, _Kept(OrderedDict(), {}))
    form = (structure, held)
    if form not in kept.forms:
        _forget_lost_weights(kept.forms, held)
    by_settings = _touch(kept.forms, form, OrderedDict, _MOST_FORMS)
    compiled = _touch(by_settings, describe(settings), dict, _MOST_SETTINGS)
    return Programs(model, settings, weights, compiled, kept.shared)


def _touch(entries: OrderedDict, key: Hashable, make: Any, most: int) -> Any:
    """The entry of a key, from now on the newest; the oldest makes room for a new one."""
    if key not in entries:
        entries[key] = make()
    entries.move_to_end(key)
    while len(entries) > most:
        entries.popitem(last=False)
    return entries[key]


def _forget_lost_weights(forms, held):
    """Lets go of programs with weights that the model has no more, and of these weights."""
    present = set(held)
    for structure, weights in list(forms):
        if not present.issuperset(weights):
            del forms[structure, weights]
