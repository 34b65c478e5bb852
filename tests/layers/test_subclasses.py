"""Every layer as a parent: what a subclass is saved with, it comes back with."""

import inspect
import json

import keras
import pytest

import keras_transformer as kt
from tests.harness import assert_close, constructor_arguments, randomize
from tests.layers.cases import CASES, given


def with_alpha(parent):
    """Keras's usual pattern: one more argument, and the rest handed on."""

    class WithAlpha(parent):
        def __init__(self, *args, alpha=1.0, **kwargs):
            super().__init__(*args, **kwargs)
            self.alpha = alpha

        def get_config(self):
            return {**super().get_config(), "alpha": self.alpha}

    return WithAlpha


def with_alpha_unsaved(parent):
    """As above, without a word about its config."""

    class WithAlphaUnsaved(parent):
        def __init__(self, alpha=1.0, **kwargs):
            super().__init__(**kwargs)
            self.alpha = alpha

    return WithAlphaUnsaved


def with_other_names(parent):
    """Arguments of other names, in a dict and hard-coded, without a word about its config."""

    class WithOtherNames(parent):
        def __init__(self, settings, label="none", **kwargs):
            super().__init__(**settings, **kwargs)
            self.label = label

    return WithOtherNames


def with_names_of_its_own(parent):
    """Arguments of other names, saved by itself in place of its parent's."""

    class WithNamesOfItsOwn(parent):
        def __init__(self, settings, **kwargs):
            super().__init__(**settings, **kwargs)

        def get_config(self):
            config = super().get_config()
            names = constructor_arguments(parent)
            return {
                "settings": {name: config[name] for name in names},
                **{name: value for name, value in config.items() if name not in names},
            }

    return WithNamesOfItsOwn


def without_common_arguments(parent):
    """Nothing that Keras's layers take can be given."""

    class WithoutCommonArguments(parent):
        def __init__(self, settings):
            super().__init__(**settings)

    return WithoutCommonArguments


def without_a_constructor(parent):
    """A property of its own, and nothing else."""

    class WithoutAConstructor(parent):
        is_mine = True

    return WithoutAConstructor


KINDS = {
    with_alpha: lambda arguments: {**arguments, "alpha": 3.0},
    with_alpha_unsaved: lambda arguments: {**arguments, "alpha": 3.0},
    with_other_names: lambda arguments: {"settings": arguments, "label": "mine"},
    with_names_of_its_own: lambda arguments: {"settings": arguments},
    without_common_arguments: lambda arguments: {"settings": arguments},
    without_a_constructor: lambda arguments: arguments,
}


def call(layer, inputs):
    more = {"training": False} if "training" in inspect.signature(layer.call).parameters else {}
    if list(inputs) == [""]:
        return layer(inputs[""], **more)
    return layer(**inputs, **more)


# One configuration of each class; with the usual pattern all of them, but on JAX, which compiles.
FIRST = {case[0]: name for name, case in reversed(CASES.items())}.values()


def names_for(kind):
    return CASES if kind is with_alpha and keras.backend.backend() != "jax" else FIRST


PAIRS = [(kind, name) for kind in KINDS for name in names_for(kind)]


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_subclass_comes_back_from_its_config_as_it_was(kind, name):
    parent, arguments, inputs, *_ = CASES[name]
    inputs, subclass = given(inputs), kind(parent)
    layer = subclass(**KINDS[kind](arguments))
    expected = call(layer, inputs)
    randomize(layer)
    expected = call(layer, inputs)
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    revived = keras.saving.deserialize_keras_object(
        json.loads(text), custom_objects={subclass.__name__: subclass}
    )
    assert type(revived) is subclass
    for argument in constructor_arguments(parent):
        value, other = getattr(layer, argument), getattr(revived, argument)
        if isinstance(value, (bool, int, float, str, type(None))):
            assert other == value, argument
        assert type(other) is type(value), argument
    for own in ("alpha", "label"):
        assert getattr(revived, own, None) == getattr(layer, own, None)
    call(revived, inputs)
    revived.set_weights(layer.get_weights())
    assert_close(call(revived, inputs), expected, tolerance=1e-6)


@keras.saving.register_keras_serializable(package="tests")
class Scaled(kt.layers.TransformerEncoderBlock):
    def __init__(self, num_heads, intermediate_dim, alpha=1.0, **kwargs):
        super().__init__(num_heads, intermediate_dim, **kwargs)
        self.alpha = alpha

    def call(self, inputs, padding_mask=None, training=None, mask=None):
        real = mask if padding_mask is None else padding_mask
        return self.alpha * super().call(inputs, padding_mask=real, training=training)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}


def test_model_with_a_subclass_is_saved_with_its_parents_settings(tmp_path):
    inputs = keras.Input((None, 12))
    settings = {"normalize_first": True, "gated": True, "activation": "gelu", "rotary": True}
    model = keras.Model(inputs, Scaled(2, 7, alpha=2.0, **settings)(inputs))
    randomize(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x = keras.random.normal((3, 5, 12))
    for same in (loaded, clone):
        assert_close(same(x), model(x), tolerance=1e-6)
