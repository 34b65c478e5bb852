"""A cache of the programs compiled for each model, valid while the model is unchanged."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import keras

from keras_transformer.checks import check_positive
from keras_transformer.decoding.fingerprint import Same, describe, fingerprint

# Limits per model: forms, such as the model with different adapters, and option sets of each form.
_MOST_FORMS = 4
_MOST_SETTINGS = 64

# The limit of all models together. On JAX, a program takes about 6 MB and 124 memory mappings, of
# which Linux allows a process 65,530.
_max_programs = 128


def set_max_programs(max_programs: int) -> None:
    """Sets how many compiled programs decoding keeps, over all models (128 by default).

    Each combination of options, batch size and rounded-up lengths has its own programs. When there
    are too many, the least recently used ones are dropped, and compiled again when they are needed.
    A larger number suits a server with many different requests and enough memory: on JAX, a program
    takes about 6 MB. TensorFlow never frees what XLA has compiled for a set of shapes. Once there
    are this many sets, decoding runs further ones without XLA.

    Args:
        max_programs: The number of programs, at least 1.

    Raises:
        ValueError: If `max_programs` is not a positive integer.

    Example:
        >>> import keras_transformer as kt
        >>> kt.decoding.set_max_programs(256)
        >>> kt.decoding.set_max_programs(128)
    """
    global _max_programs
    check_positive(max_programs=max_programs)
    _max_programs = int(max_programs)
    with _lock:
        _drop_oldest()


def max_programs() -> int:
    """Returns the number set by `set_max_programs`."""
    return _max_programs


class Programs(NamedTuple):
    """The compiled programs of a decoding run, with the model and settings they belong to.

    Attributes:
        model: The model.
        settings: What the programs depend on besides the model and the tensors' shapes.
        weights: The values of the model's variables, in the order of its `fingerprint`.
        compiled: The programs for these settings and this form of the model.
        shared: Objects shared by all programs of the model, keyed by class.
    """

    model: keras.Model
    settings: Any
    weights: list
    compiled: dict[Hashable, _Program]
    shared: dict

    def find(self, key: Hashable) -> Callable | None:
        """Returns the compiled program of a key, or None."""
        program = self.compiled.get(key)
        if program is None:
            return None
        program.last_use = next(_uses)
        return program.run

    def keep(self, key: Hashable, run: Callable) -> None:
        """Keeps a compiled program, and drops the oldest ones if there are too many."""
        with _lock:
            self.compiled[key] = _Program(run)
            _drop_oldest()


class _Program:
    """A compiled program, with the number of its last use among the uses of all programs."""

    __slots__ = ("last_use", "run")

    def __init__(self, run: Callable):
        self.run, self.last_use = run, next(_uses)


class _Kept(NamedTuple):
    forms: OrderedDict
    shared: dict


_uses = itertools.count()
# Entries are dropped with their models.
_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# Guards `_kept`. A program that has been found runs without it.
_lock = threading.RLock()


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
    form, described = (structure, held), describe(settings)
    with _lock:
        kept = _kept.setdefault(model, _Kept(OrderedDict(), {}))
        if form not in kept.forms:
            _forget_lost_weights(kept.forms, held)
        by_settings = _touch(kept.forms, form, OrderedDict, _MOST_FORMS)
        compiled = _touch(by_settings, described, dict, _MOST_SETTINGS)
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


def _drop_oldest():
    """Drops the programs used longest ago until there are `_max_programs`."""
    found = [
        (program.last_use, compiled, key)
        for kept in list(_kept.values())
        for by_settings in kept.forms.values()
        for compiled in by_settings.values()
        for key, program in compiled.items()
    ]
    found.sort(key=lambda place: place[0])
    for _, compiled, key in found[: max(0, len(found) - _max_programs)]:
        del compiled[key]
