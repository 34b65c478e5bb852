"""Changes of a model that a decoding program must not outlive, and those that it may."""

import dataclasses
import functools
import gc
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import ops

import keras_transformer as kt
from keras_transformer.decoding import programs
from keras_transformer.decoding.fingerprint import Same, describe, fingerprint
from keras_transformer.decoding.programs import programs_of
from tests.harness import BACKEND, normal
from tests.laws.models import LANGUAGE_MODELS, make_case


def layers_of(model, kind):
    return [layer for layer in model._flatten_layers() if isinstance(layer, kind)]


def decoder_of(model):
    return model.get_layer("decoder")


def set_everywhere(kind, name, value):
    def change(model):
        for layer in layers_of(model, kind):
            setattr(layer, name, value)

    return change


def set_in_a_block(path, value):
    def change(model):
        *path_to_it, name = path.split(".")
        owner = functools.reduce(getattr, path_to_it, decoder_of(model).blocks[0])
        setattr(owner, name, value)

    return change


def enable_lora(rank, alpha=None, targets=("query",)):
    def change(model):
        kt.training.enable_lora(model, rank, alpha=alpha, targets=targets)

    return change


def quantize(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the input has nothing to quantize
        model.quantize("int8")


def replace_a_layer(model):
    decoder = decoder_of(model)
    decoder._tracker.unlock()
    decoder.blocks[0] = decoder.blocks[1]


NORMS, DENSE = keras.layers.LayerNormalization, keras.layers.Dense
CHANGES = {
    "dropout": set_everywhere(kt.layers.MultiHeadAttention, "dropout", 0.5),
    "epsilon": set_everywhere(NORMS, "epsilon", 0.5),
    "type of a number": set_everywhere(NORMS, "epsilon", 1),
    "window": set_in_a_block("self_attention.window", 2),
    "causal": set_in_a_block("self_attention.causal", False),
    "order of norms": set_in_a_block("normalize_first", True),
    "activation": set_in_a_block("feed_forward.activation", ops.tanh),
    "call": set_in_a_block("feed_forward.call", lambda inputs, training=None: inputs),
    "start": lambda model: setattr(decoder_of(model), "start_is_padding", True),
    "padding": lambda model: setattr(model.get_layer("token_embedding"), "padding_id", None),
    "bias": set_everywhere(DENSE, "use_bias", False),
    "dtype policy": set_everywhere(DENSE, "dtype_policy", "mixed_bfloat16"),
    "autocast": set_everywhere(DENSE, "autocast", False),
    "blocks": lambda model: decoder_of(model).blocks.reverse(),
    "layer": replace_a_layer,
    "int8": quantize,
    "adapters": enable_lora(2),
    "global dtype policy": lambda model: keras.config.set_dtype_policy("mixed_bfloat16"),
}


def test_a_model_is_like_itself():
    model = make_case("gpt", num_layers=2).model
    assert fingerprint(model) == fingerprint(model)
    assert hash(fingerprint(model).structure) == hash(fingerprint(model).structure)


def test_other_threads_see_the_same_model():
    """Keras keeps its global settings per thread; the layers have the policy of the first one."""
    model = kt.models.gpt(23, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=11)
    assert model.get_layer("decoder").dtype_policy is keras.config.dtype_policy()
    with ThreadPoolExecutor() as pool:
        other = pool.submit(fingerprint, model).result()
    assert other.structure == fingerprint(model).structure


@pytest.mark.parametrize("change", CHANGES)
def test_changes(change):
    model = make_case("gpt", num_layers=2).model
    before = fingerprint(model).structure
    CHANGES[change](model)
    assert fingerprint(model).structure != before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (enable_lora(2), enable_lora(3)),
        (enable_lora(2), enable_lora(2, alpha=7.0)),
        (enable_lora(2), enable_lora(2, targets=("value",))),
    ],
    ids=["rank", "alpha", "targets"],
)
def test_one_adapter_after_another(first, second):
    model = make_case("gpt", num_layers=2).model
    base = fingerprint(model).structure
    found = [base]
    for adapt in (first, second):
        adapt(model)
        found.append(fingerprint(model).structure)
        kt.training.merge_lora(model)
        assert fingerprint(model).structure == base
    assert len(set(found)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_what_a_model_is_used_for_changes_nothing(name):
    model = make_case(name, num_layers=2).model
    before = fingerprint(model)
    ids = np.array([[5, 6, 7]])
    model({"token_ids": ids})
    kt.decoding.generate(model, ids, 2)
    model.compile("sgd", kt.training.MaskedCrossentropy(), run_eagerly=True)
    model.fit({"token_ids": ids}, ids, verbose=0)
    kt.models.classifier(model, 2, lm_weight=0)
    model.set_weights(model.get_weights())
    model.trainable = False
    assert fingerprint(model) == before


def test_the_variables_are_all_of_the_models():
    model = make_case("transformer").model
    found = fingerprint(model).variables
    assert {id(variable) for variable in found} == {id(variable) for variable in model.variables}
    assert len(found) == len(model.variables)


def test_containers_objects_and_functions_are_looked_into():
    class Options:
        def __init__(self):
            self.scale = 1.0

    options, scale, table = Options(), [1.0], np.ones(3)
    value = {
        "options": options,
        "closure": lambda x: scale[0] * x,
        "partial": functools.partial(max, scale),
        "method": scale.append,
        "array": table,
        "set": {1, 2},
    }
    before = describe(value)
    assert describe(value) == before

    def now_differs():
        nonlocal before
        last, before = before, describe(value)
        return before != last

    options.scale = 2.0
    assert now_differs()
    scale[0] = 2.0
    assert now_differs()
    table[1] = 5.0
    assert now_differs()
    value["set"].add(3)
    assert now_differs()
    value["set"] = None
    assert now_differs()
    assert not now_differs()


def test_the_same_is_the_same_while_it_lives():
    class Thing:
        pass

    thing = Thing()
    same = Same(thing)
    assert same == Same(thing) and hash(same) == hash(Same(thing)) and same != Same(Thing())
    del thing
    gc.collect()
    assert same != same and same != 5


# === What is kept ===


def kept_forms(model):
    return programs._kept[model].forms


def test_programs_are_found_again():
    model = make_case("gpt").model
    first = programs_of(model, ("greedy",))
    assert programs_of(model, ("greedy",)).compiled is first.compiled
    assert programs_of(model, ("random",)).compiled is not first.compiled
    CHANGES["epsilon"](model)
    assert programs_of(model, ("greedy",)).compiled is not first.compiled
    set_everywhere(NORMS, "epsilon", 1e-5)(model)
    assert programs_of(model, ("greedy",)).compiled is first.compiled


def test_an_equal_sampler_is_the_same_sampler():
    model = make_case("gpt").model
    settings = [kt.decoding.RandomSampler(t, top_p=0.5) for t in (0.5, 0.5, 0.6)]
    one, same, other = (programs_of(model, (sampler,)).compiled for sampler in settings)
    assert one is same and one is not other


def test_few_are_kept():
    model = make_case("gpt").model
    for number in range(100):
        programs_of(model, (number,))
        set_everywhere(NORMS, "epsilon", 0.1 * (number // 10))(model)
    assert len(kept_forms(model)) <= 4
    assert all(len(settings) <= 64 for settings in kept_forms(model).values())


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "jax", reason="programs of JAX hold no weights")
def test_programs_go_with_the_weights_that_they_hold():
    model = make_case("gpt").model
    programs_of(model, ())
    enable_lora(2)(model)
    programs_of(model, ())
    assert len(kept_forms(model)) == 2  # the base's weights are all still there
    kt.training.merge_lora(model)
    programs_of(model, ())
    assert len(kept_forms(model)) == 2
    enable_lora(2)(model)
    programs_of(model, ())
    assert len(kept_forms(model)) == 2  # the first adapters are gone
    quantize(model)
    programs_of(model, ())
    assert len(kept_forms(model)) == 1


@pytest.mark.slow
def test_attributes_of_a_sampler_are_seen():
    @dataclasses.dataclass
    class Always:  # not hashable
        token: int

        def __call__(self, logits, uniform):
            return ops.zeros_like(uniform, dtype="int32") + self.token

    model, sampler = make_case("gpt").model, Always(7)
    for token in (7, 9):
        sampler.token = token
        ids = kt.decoding.generate(model, [[5]], 2, sampler=sampler)
        assert ids.tolist() == [[5, token, token]]


def test_new_adapters_find_the_programs_of_old_ones_where_weights_are_handed_in():
    model = make_case("gpt").model
    enable_lora(2)(model)
    first = programs_of(model, ())
    kt.training.merge_lora(model)
    enable_lora(2)(model)
    for weight in model.trainable_weights:
        weight.assign(normal(*weight.shape))
    assert (programs_of(model, ()).compiled is first.compiled) == (BACKEND == "jax")
