"""A cache of the programs compiled for each model, valid while the model is unchanged."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, NamedTuple

import keras

from keras_transformer.decoding.fingerprint import Same, describe, fingerprint

# Limits per model: forms, such as the model with different adapters, and option sets of each form.
_MOST_FORMS = 4
_MOST_SETTINGS = 64


class Programs(NamedTuple):
    """The compiled programs of a decoding run, with the model and settings they belong to.

    Attributes:
        model: The model.
        settings: What the programs depend on besides the model and the tensors' shapes.
        weights: The values of the model's variables, in the order of its `fingerprint`.
        compiled: The programs for these settings and this form of the model, keyed by function.
        shared: Objects shared by all programs of the model, keyed by class.
    """

    model: keras.Model
    settings: Any
    weights: list
    compiled: dict
    shared: dict


class _Kept(NamedTuple):
    forms: OrderedDict
    shared: dict


# Entries are dropped with their models.
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def programs_of(model: keras.Model, settings: Any) -> Programs:
    """Looks up the programs compiled for a model in its current form.

    This takes a few milliseconds, once per run rather than once per token.

    Args:
        model: The model.
        settings: A named tuple of plain values and callables.

    Returns:
        The `Programs`.
    """
    structure, variables = fingerprint(model)
    weights = [variable.value for variable in variables]
    # JAX programs take the weights as arguments. Others refer to the tensors they were traced with:
    # they see new values assigned to these, but not tensors that replace them.
    held = () if keras.backend.backend() == "jax" else tuple(map(Same, weights))
    kept = _kept.setdefault(model, _Kept(OrderedDict(), {}))
    form = (structure, held)
    if form not in kept.forms:
        _forget_lost_weights(kept.forms, held)
    by_settings = _touch(kept.forms, form, OrderedDict, _MOST_FORMS)
    compiled = _touch(by_settings, describe(settings), dict, _MOST_SETTINGS)
    return Programs(model, settings, weights, compiled, kept.shared)


def _touch(entries: OrderedDict, key: Hashable, make: Any, most: int) -> Any:
    """Returns the entry of a key in an LRU cache of at most `most` entries."""
    if key not in entries:
        entries[key] = make()
    entries.move_to_end(key)
    while len(entries) > most:
        entries.popitem(last=False)
    return entries[key]


def _forget_lost_weights(forms, held):
    """Drops programs that refer to weights the model no longer has."""
    present = set(held)
    for structure, weights in list(forms):
        if not present.issuperset(weights):
            del forms[structure, weights]
