"""The base class of the layers: saving, and the shapes of symbolic calls."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras

from keras_transformer.layers.nested_layers import restore_states, states_of
from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.serialization import argument_names, constructor_config, serialize

PACKAGE = "keras_transformer"


@keras.saving.register_keras_serializable(package=PACKAGE)
class Layer(keras.layers.Layer):
    """A Keras layer whose config holds its constructor arguments and the state of its sublayers.

    * Each constructor argument is read from the attribute of the same name. Subclasses may add
      arguments the usual way, `{**super().get_config(), ...}`; a subclass that does not override
      `get_config` is saved with the arguments passed to its constructor.
    * Sublayers that were frozen, quantized or given another dtype policy after construction are
      recorded in the config; restoring the layer reapplies these changes when it is built.
    * Symbolic calls take their shapes and dtypes from `call`.

    Args:
        sublayers: Sublayer states by path, as saved in the config; usually set only when
            restoring.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
        layer = super().__new__(cls, *args, **kwargs)
        if _library_class(cls).__init__ is not cls.__init__:  # type: ignore[misc]
            # Not an attribute: Keras would track layers among the arguments as sublayers.
            layer.__dict__["_given"] = _Given(cls, args, kwargs)
        return layer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _restoring(cls.build)  # type: ignore[method-assign]

    def __init__(self, *, sublayers: dict[str, dict] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Not an attribute: Keras would wrap the dict to track its contents.
        self.__dict__["_waiting"] = dict(sublayers or {})

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        # Unlike Keras, ignores `compute_output_shape`, which covers neither dtypes nor optional
        # outputs.
        spec = keras.Operation.compute_output_spec(self, *args, **kwargs)
        if keras.backend.backend() != "torch" or not self.weights:
            return spec
        # On torch, Keras's symbolic calls see weights in the variable dtype, not the compute dtype.
        extras: dict[str, Any] = {}
        output = take_output(spec, extras)
        return make_output(keras.KerasTensor(output.shape, self.compute_dtype), extras)

    def get_config(self) -> dict[str, Any]:
        library_class = _library_class(type(self))
        states = {**self.__dict__["_waiting"], **states_of(self, library_class)}
        common = {**super().get_config(), **({"sublayers": states} if states else {})}
        given = self.__dict__.get("_given")
        if given is not None and type(self).get_config is Layer.get_config:
            return given.config(common)
        return {**common, **constructor_config(self, library_class)}


class _Given:
    """The arguments passed to the constructor of a subclass."""

    def __init__(self, cls, args, kwargs):
        self.cls, self.args, self.kwargs = cls, args, kwargs

    def config(self, common: dict[str, Any]) -> dict[str, Any]:
        """Merges these arguments with those common to all layers that the subclass accepts."""
        parameters = inspect.signature(self.cls.__init__).parameters
        bound = inspect.signature(self.cls.__init__).bind(None, *self.args, **self.kwargs)
        named = dict(list(bound.arguments.items())[1:])  # without `self`
        takes_all = False
        for parameter in parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                takes_all = True
                named |= named.pop(parameter.name, {})
        taken = {name: value for name, value in common.items() if takes_all or name in parameters}
        own = {name: serialize(value) for name, value in named.items() if name not in _COMMON}
        return {**taken, **own}


# Read from the layer's attributes, not from the arguments passed to the constructor.
_COMMON = {*argument_names(keras.layers.Layer), *argument_names(Layer)}


def _library_class(cls: type) -> type:
    """The first library class among a class and its bases, or the class itself if there is none."""
    for base in cls.__mro__:
        if keras.saving.get_registered_name(base).startswith(f"{PACKAGE}>"):
            return base
    return cls


def _restoring(build):
    """Wraps `build` so that the saved states of the sublayers are restored afterwards."""

    @functools.wraps(build)
    def build_and_restore(self, *args, **kwargs):
        build(self, *args, **kwargs)
        if not self.trainable:
            # Freezes the new sublayers too. On TensorFlow, setting False again has no effect.
            self.trainable = True
            self.trainable = False
        self.__dict__["_waiting"] = restore_states(self, self.__dict__["_waiting"])

    return build_and_restore
