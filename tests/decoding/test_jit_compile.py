"""TensorFlow with XLA gives what TensorFlow without it gives."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.decoding.reference import lively_case
from tests.harness import BACKEND, randomize, run_python
from tests.laws.models import V

ONLY_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="a choice on TensorFlow alone")
PROMPTS = [[5, 9, 3], [8, 8, 12, 4, 20, 7, 3], [17, 3]]
SAMPLER = kt.decoding.RandomSampler(1.3, top_k=8, top_p=0.9, min_p=0.05)


@pytest.fixture
def both():
    """Calls a function without XLA and with it."""

    def call(function):
        results = []
        for enabled in (False, True):
            kt.decoding.set_jit_compile(enabled)
            results.append(function())
        return results

    yield call
    kt.decoding.set_jit_compile(False)


@ONLY_TENSORFLOW
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
def test_generation(both, name):
    model = lively_case(name).model
    plain, compiled = both(
        lambda: kt.decoding.generate(
            model,
            PROMPTS,
            max_new_tokens=9,
            sampler=SAMPLER,
            stop_ids=(7, 11),
            seed=3,
            banned_ids=(0,),
            repetition_penalty=1.2,
            no_repeat_ngram_size=2,
            min_new_tokens=4,
            num_return=2,
            return_log_probs=True,
        )
    )
    np.testing.assert_array_equal(plain.ids, compiled.ids)
    np.testing.assert_allclose(plain.log_probs, compiled.log_probs, atol=1e-4)


@ONLY_TENSORFLOW
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "transformer"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 1},
        {"num_beams": 3, "num_return": 3, "no_repeat_ngram_size": 2, "min_length": 4},
        {"num_beams": 4, "length_penalty": 0.0, "early_stopping": True},
        {"num_beams": 3, "candidate_ids": (3, 5, 6, 9, 14, 21), "banned_ids": (6,)},
    ],
)
def test_beam_search(both, name, options):
    model = lively_case(name).model
    plain, compiled = both(lambda: kt.decoding.beam_search(model, PROMPTS, max_length=9, **options))
    np.testing.assert_array_equal(plain.ids, compiled.ids)
    np.testing.assert_allclose(plain.scores, compiled.scores, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
@ONLY_TENSORFLOW
def test_a_stream(both):
    model = lively_case("gpt").model
    plain, compiled = both(lambda: list(kt.decoding.stream(model, PROMPTS, max_new_tokens=9)))
    np.testing.assert_array_equal(plain, compiled)


@pytest.mark.slow
@ONLY_TENSORFLOW
def test_a_layer_that_xla_cannot_take_is_run_without_it(both):
    import tensorflow as tf

    class ThroughStrings(keras.layers.Dense):
        def call(self, x):
            x = super().call(x)
            return x * tf.cast(tf.strings.length(tf.strings.as_string(x)) > 0, x.dtype)

    def generate(supports_jit):
        lm = lively_case("gpt").model
        hidden = lm.get_layer("decoder")(lm.get_layer("token_embedding")(lm.input["token_ids"]))
        layer = ThroughStrings(V, name="logits")
        layer.supports_jit = supports_jit
        model = keras.Model(lm.input, layer(hidden))
        randomize(layer, stddev=1.0)
        return kt.decoding.generate(model, PROMPTS, max_new_tokens=3)

    plain, compiled = both(lambda: generate(supports_jit=False))
    np.testing.assert_array_equal(plain, compiled)
    with pytest.raises(tf.errors.InvalidArgumentError, match="AsString"):
        both(lambda: generate(supports_jit=True))


@pytest.mark.slow
@ONLY_TENSORFLOW
def test_xla_compiles_no_more_sets_of_shapes_than_allowed(both, monkeypatch):
    from keras_transformer.decoding import tensorflow_program

    model = lively_case("gpt").model
    wide = [prompt * 4 for prompt in PROMPTS]  # one more width

    def generate():
        return [kt.decoding.generate(model, rows, max_new_tokens=5) for rows in (PROMPTS, wide)]

    monkeypatch.setattr(tensorflow_program, "_num_compiled", 0)
    monkeypatch.setattr(tensorflow_program, "max_programs", lambda: 2)
    plain, compiled = both(generate)
    assert tensorflow_program._num_compiled == 2  # the first and the later steps of `PROMPTS`
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_xla_is_on_unless_told_otherwise():
    code = "from keras_transformer.decoding import compilation; print(compilation._jit_compile)"
    assert run_python(code).strip().endswith("True")
    with pytest.raises(ValueError, match="`enabled` must be True or False. Received: enabled='no'"):
        kt.decoding.set_jit_compile("no")
