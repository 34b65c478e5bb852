"""What every layer of the library has in common: how it is saved, and what shapes it announces."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import keras

from keras_transformer.layers.outputs import make_output, take_output
from keras_transformer.layers.serialization import argument_names, constructor_config, serialize
from keras_transformer.layers.sublayers import restore_states, states_of

PACKAGE = "keras_transformer"


@keras.saving.register_keras_serializable(package=PACKAGE)
class Layer(keras.layers.Layer):
    """A Keras layer that is saved with its arguments and with the states of the layers inside it.

    * The config holds each argument of the constructor, read from the attribute of its name. A
      subclass may add arguments of its own as Keras has it, `{**super().get_config(), ...}`; one
      that does not write its config is saved with the arguments that it was made with.
    * Sub-layers are made from the outer layer's arguments. Where one has been frozen, quantized or
      given another dtype policy since, the config says so, and the layer that is made of it does
      the same once it is built.
    * Shapes and dtypes of symbolic calls are those of the call itself.

    Args:
        sublayers: states of sub-layers by path, as a config holds them.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
        layer = super().__new__(cls, *args, **kwargs)
        if _library_class(cls).__init__ is not cls.__init__:  # type: ignore[misc]
            # Not an attribute: Keras would take layers among the arguments for sub-layers.
            layer.__dict__["_given"] = _Given(cls, args, kwargs)
        return layer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _restoring(cls.build)  # type: ignore[method-assign]

    def __init__(self, *, sublayers: dict[str, dict] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Not an attribute: Keras would wrap the dict to track what is inside.
        self.__dict__["_waiting"] = dict(sublayers or {})

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        # Not by `compute_output_shape`, as Keras does it: that knows nothing of dtypes, nor of what
        # else a call may be asked to return.
        spec = keras.Operation.compute_output_spec(self, *args, **kwargs)
        if keras.backend.backend() != "torch" or not self.weights:
            return spec
        # On torch Keras's traces see weights in the dtype that they are kept in, not used in.
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
    """The arguments that a subclass was made with."""

    def __init__(self, cls, args, kwargs):
        self.cls, self.args, self.kwargs = cls, args, kwargs

    def config(self, common: dict[str, Any]) -> dict[str, Any]:
        """These arguments and, as far as the subclass takes them, those that all layers have."""
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


# What a layer knows of itself, whatever it was made with.
_COMMON = {*argument_names(keras.layers.Layer), *argument_names(Layer)}


def _library_class(cls: type) -> type:
    """The class itself, or the class of the library that it is derived from."""
    for base in cls.__mro__:
        if keras.saving.get_registered_name(base).startswith(f"{PACKAGE}>"):
            return base
    return cls


def _restoring(build):
    """A `build` after which the sub-layers that it made are in the states that were saved."""

    @functools.wraps(build)
    def build_and_restore(self, *args, **kwargs):
        build(self, *args, **kwargs)
        if not self.trainable:
            # So are the sub-layers. On TensorFlow an attribute that is False already ignores being
            # set to False.
            self.trainable = True
            self.trainable = False
        self.__dict__["_waiting"] = restore_states(self, self.__dict__["_waiting"])

    return build_and_restore
