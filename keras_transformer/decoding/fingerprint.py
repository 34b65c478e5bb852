"""Fingerprints of models: everything that a traced program reads except the weights' values.

Tracing a program fixes the Python values that it reads, such as rates, scales, dtype policies and
the list of layers. The fingerprint records them all, so that a program is reused only while they
are unchanged.
"""

from __future__ import annotations

import functools
import types
import weakref
import zlib
from collections.abc import Hashable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_BY_IDENTITY = (type, types.ModuleType, types.BuiltinFunctionType)
# Used to create weights, in training or for saving; no decoding step reads them.
_UNREAD = (
    keras.KerasTensor,
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
)
# Longer collections, such as vocabularies, are compared by identity only.
_LONGEST = 1000
_MOST_BYTES = 1 << 16


class Fingerprint(NamedTuple):
    """The fingerprint of a model.

    Attributes:
        structure: The layers and their attributes, with weights numbered in order.
        variables: The weights, in that order.
    """

    structure: Hashable
    variables: list


class Same:
    """A hashable weak reference that compares its object by identity.

    Equal to another one only while the object is alive.

    Args:
        value: The object. If it does not support weak references, it is kept alive.
    """

    __slots__ = ("_get", "_id")

    def __init__(self, value: Any):
        self._id = id(value)
        try:
            self._get: Any = weakref.ref(value)
        except TypeError:
            self._get = functools.partial(_return, value)

    def __hash__(self) -> int:
        return self._id

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or self._id != other._id:
            return False
        value = self._get()
        return value is not None and value is other._get()


def _return(value):
    return value


def fingerprint(model: keras.Model) -> Fingerprint:
    """Records what a decoding program reads from a model, in a few milliseconds.

    This covers every attribute of every layer, recursively through lists, dicts, layers and plain
    objects, and Keras's global settings. It does not cover global variables that a layer's code
    reads, or changes inside large arrays and collections.

    Args:
        model: The model.

    Returns:
        Its `Fingerprint`.
    """
    notes = _Notes()
    for layer in model.layers:
        notes.add(layer.name)
        notes.add(layer)
    known = {id(variable) for variable in notes.variables}
    rest = [variable for variable in model.variables if id(variable) not in known]
    # By value: other threads have their own objects, which are not those of the layers.
    notes.add(describe(_global_settings()))
    return Fingerprint(tuple(notes.written), [*notes.variables, *rest])


def describe(value: Any) -> Hashable:
    """Records an object, such as a sampler with its attributes, the way `fingerprint` does."""
    notes = _Notes()
    notes.add(value)
    return tuple(notes.written)


def _global_settings():
    config = keras.config
    distribution = keras.distribution.distribution()
    return (
        config.floatx(),
        config.epsilon(),
        config.dtype_policy(),
        config.is_flash_attention_enabled(),
        distribution if distribution is None else Same(distribution),
    )


class _Notes:
    """A flat record of everything found; each object is recorded once."""

    def __init__(self):
        self.written: list[Any] = []
        self.variables: list[Any] = []
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id() is reused

    def add(self, value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN:
            # With the type, since 1, 1.0 and True are equal.
            self.written += (kind, value)
        elif kind is Same:
            self.written.append(value)
        elif isinstance(value, _UNREAD):
            self.written.append(None)
        elif id(value) in self._seen:
            self.written += ("seen", self._seen[id(value)])
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._add_new(value, kind)

    def _add_new(self, value, kind):
        if isinstance(value, keras.Variable):
            self.written += ("variable", tuple(value.shape), value.dtype)
            self.variables.append(value)
        elif isinstance(value, keras.layers.Layer):
            self._add_layer(value, kind)
        elif isinstance(value, dict):
            self._add_all(kind, value, [*value, *value.values()])
        elif isinstance(value, (list, tuple, set, frozenset)):
            self._add_all(kind, value, value)
        elif isinstance(value, np.ndarray):
            self._add_array(value)
        elif isinstance(value, types.FunctionType):
            self._add_function(value)
        elif isinstance(value, types.MethodType):
            self._add_all(kind, value, (value.__self__, value.__func__))
        elif isinstance(value, functools.partial):
            self._add_all(kind, value, (value.func, value.args, value.keywords))
        elif isinstance(value, (keras.DTypePolicy, keras.dtype_policies.DTypePolicyMap)):
            self._add_all(kind, value, vars(value).values())  # compared by value
        else:
            self._add_object(value, kind)

    def _add_layer(self, layer, kind):
        self.written += (kind, layer.autocast)
        self.add(layer.dtype_policy)
        is_model = isinstance(layer, keras.Model)
        unread = _names_of_model() if is_model else _names_of_layer()
        if own := getattr(kind, "unread_attributes", ()):
            unread = unread.union(own)
        self._add_attributes(vars(layer), unread)
        # On torch, sublayers are stored here rather than among the attributes.
        self._add_attributes(vars(layer).get("_modules") or {}, ("_torch_params",))
        if is_model:
            self._add_all(kind, layer, layer.layers)

    def _add_object(self, value, kind):
        has_parts = hasattr(value, "__dict__") and not isinstance(value, _BY_IDENTITY)
        has_parts = has_parts and not ops.is_tensor(value)
        # Hashable objects that define equality, such as samplers, are compared by their attributes.
        is_value = kind.__eq__ is not object.__eq__ and kind.__hash__ is not None
        self.written += (kind, None if has_parts and is_value else Same(value))
        if has_parts:
            self._add_attributes(vars(value), ())

    def _add_attributes(self, attributes, but):
        for name, value in list(attributes.items()):
            if name not in but:
                self.written.append(name)
                self.add(value)

    def _add_all(self, kind, whole, items):
        self.written += (kind, len(items))
        if len(items) > _LONGEST:
            self.written.append(Same(whole))
            return
        for item in items:
            self.add(item)

    def _add_function(self, function):
        self.written.append(Same(function))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not assigned yet
                self.written.append("empty")
        for defaults in (function.__defaults__, function.__kwdefaults__):
            self.add(defaults)

    def _add_array(self, array):
        self.written += (array.shape, array.dtype.str, Same(array))
        if array.nbytes <= _MOST_BYTES and not array.dtype.hasobject:
            self.written.append(zlib.crc32(array.tobytes()))


@functools.cache
def _names_of_layer():
    """Returns the attributes that Keras sets on every layer, such as the record of its calls."""
    return _names_of_bare(keras.layers.Layer)


@functools.cache
def _names_of_model():
    return _names_of_bare(keras.Model)


def _names_of_bare(base: Any):
    class Bare(base):
        def build(self, input_shape):
            self.child.build(input_shape)

        def call(self, inputs):
            return self.child(inputs)

    bare = Bare(name="bare")
    bare.child = keras.layers.Identity(name="child")  # a sublayer adds TensorFlow's attributes
    bare(np.zeros((1, 1), "float32"))
    return frozenset(vars(bare)) - {"child"}
