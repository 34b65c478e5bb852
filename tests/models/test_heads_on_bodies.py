"""Heads on encoders, language models and vision Transformers: what they read, share and ignore."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, outputs_after_reload, randomize, to_numpy, token_ids

V, T = 50, 11
SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "dropout": 0.0}


def make_body(kind, **arguments):
    if kind == "vision":
        return kt.models.vit(8, 4, 7, num_channels=1, **SIZE, **arguments)
    if kind == "language_model":
        return kt.models.gpt(V, max_length=23, **SIZE, **arguments)
    return kt.models.bert(V, max_length=23, **SIZE, **arguments)


def texts(lengths=(2, 3, 5, 7, 11), width=T):
    """Rows of ids of these lengths, B = 5, padded."""
    ids = token_ids(len(lengths), width, vocabulary_size=V)
    for row, length in zip(ids, lengths, strict=True):
        row[length:] = 0
    return {"token_ids": ids}


def inputs_of(kind):
    if kind == "vision":
        return np.random.default_rng(1).random((5, 8, 8, 1), "float32")
    return texts()


def hidden_of(kind, body, inputs):
    """The hidden states (B, T, D) of a body, by way of its own outputs."""
    if kind == "vision":
        return to_numpy(keras.Model(body.input, body.get_layer("encoder").output)(inputs))
    if kind == "language_model":
        embedded = body.get_layer("token_embedding")(inputs["token_ids"])
        return to_numpy(body.get_layer("decoder")(embedded))
    outputs = body({**inputs, "segment_ids": np.zeros_like(inputs["token_ids"])})
    return to_numpy(outputs["output"] if isinstance(outputs, dict) else outputs)


def pooled(hidden, real, pooling):
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "last":
        return np.stack(
            [row[np.flatnonzero(kept)[-1]] for row, kept in zip(hidden, real, strict=True)]
        )
    reduce = {"mean": np.mean, "max": np.max}[pooling]
    return np.stack([reduce(row[kept], axis=0) for row, kept in zip(hidden, real, strict=True)])


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


KINDS = ("encoder", "language_model", "vision")
ASKED = [
    ("encoder", None),
    *((kind, p) for kind in KINDS for p in ("first", "last", "mean", "max")),
]


@pytest.mark.parametrize(("kind", "pooling"), ASKED)
def test_probabilities_come_from_the_pooled_states(kind, pooling):
    body = make_body(kind)
    model = randomize(kt.models.classifier(body, 3, pooling=pooling))
    numbers = kt.models.regressor(body, 3, pooling=pooling)
    numbers.get_layer("head").set_weights(model.get_layer("head").get_weights())
    inputs = inputs_of(kind)
    hidden = hidden_of(kind, body, inputs)
    if pooling is None:
        vector = to_numpy(
            body({**inputs, "segment_ids": np.zeros_like(inputs["token_ids"])})["pooled_output"]
        )
    else:
        real = np.ones(hidden.shape[:2], bool) if kind == "vision" else inputs["token_ids"] > 0
        vector = pooled(hidden, real, pooling)
    kernel, bias = model.get_layer("head").get_weights()
    logits = vector @ kernel + bias
    np.testing.assert_allclose(model.predict(inputs, verbose=0), softmax(logits), atol=1e-5)
    np.testing.assert_allclose(numbers.predict(inputs, verbose=0), logits, atol=1e-5)


def test_by_default_what_each_kind_of_model_was_made_for():
    inputs = inputs_of("vision")
    for kind, expected in (("vision", "first"), ("encoder", "first")):
        body = make_body(kind, **({"pooler": False} if kind == "encoder" else {}))
        models = [kt.models.classifier(body, 3, pooling=p) for p in (None, expected)]
        models[1].get_layer("head").set_weights(models[0].get_layer("head").get_weights())
        inputs = inputs_of(kind)
        first, second = (to_numpy(model(inputs)) for model in models)
        np.testing.assert_array_equal(first, second)
    lm = make_body("language_model")
    assert "extract_position" in {layer.name for layer in kt.models.classifier(lm, 3).layers}
    assert "extract_position" in {layer.name for layer in kt.models.regressor(lm).layers}


HEADS = {
    "classifier": lambda body, **more: kt.models.classifier(body, 3, pooling="mean", **more),
    "regressor": lambda body, **more: kt.models.regressor(body, 2, pooling="mean", **more),
    "token_classifier": lambda body, **more: kt.models.token_classifier(body, 3, **more),
    "span_extractor": lambda body, **more: kt.models.span_extractor(body, **more),
}
# Of each head: labels of B = 5 examples of T tokens, and a loss.
LABELS = {
    "classifier": (np.array([0, 1, 2, 0, 1]), "sparse_categorical_crossentropy"),
    "regressor": (np.ones((5, 2), "float32"), "mean_squared_error"),
    "token_classifier": (np.ones((5, T), "int32"), "sparse_categorical_crossentropy"),
    "span_extractor": (
        {"start": np.zeros(5, "int32"), "end": np.ones(5, "int32")},
        "sparse_categorical_crossentropy",
    ),
}
ON_BODIES = [
    (head, kind)
    for head in HEADS
    for kind in (KINDS if head in ("classifier", "regressor") else KINDS[:2])
]


@pytest.mark.parametrize(("head", "kind"), [pair for pair in ON_BODIES if pair[1] != "vision"])
def test_padding_changes_nothing(head, kind):
    model = randomize(HEADS[head](make_body(kind)))
    inputs = texts()
    wider = {"token_ids": np.pad(inputs["token_ids"], [(0, 0), (0, 4)])}
    expected, found = to_numpy(model(inputs)), to_numpy(model(wider))
    if head == "span_extractor":
        for key in ("start", "end"):
            np.testing.assert_allclose(found[key][:, :T], expected[key], atol=1e-5)
            np.testing.assert_allclose(found[key].sum(axis=1), 1.0, atol=1e-5)
            assert not found[key][np.pad(inputs["token_ids"], [(0, 0), (0, 4)]) == 0].any()
    elif head == "token_classifier":
        real = inputs["token_ids"] > 0
        np.testing.assert_allclose(found[:, :T][real], expected[real], atol=1e-5)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("head", "kind"), ON_BODIES)
def test_training_moves_the_shared_body_or_leaves_it(head, kind):
    labels, loss = LABELS[head]

    def weights_after_fit(prepare):
        body = make_body(kind)
        model = HEADS[head](body)
        prepare(model)
        names = [weight.path for weight in body.get_layer(stack).weights]
        before = [to_numpy(weight) for weight in body.get_layer(stack).weights]
        old_head = model.get_layer("head").get_weights()
        model.compile(keras.optimizers.SGD(0.5), loss, run_eagerly=True)
        model.fit(inputs_of(kind), labels, batch_size=5, verbose=0)
        new_head = model.get_layer("head").get_weights()
        assert any((a != b).any() for a, b in zip(old_head, new_head, strict=True))
        after = [to_numpy(weight) for weight in body.get_layer(stack).weights]
        return {
            name
            for name, old, new in zip(names, before, after, strict=True)
            if (old != new).any() and "seed" not in name
        }

    stack = "decoder" if kind == "language_model" else "encoder"
    assert weights_after_fit(lambda model: None)
    assert not weights_after_fit(kt.training.freeze)
    adapted = weights_after_fit(lambda model: kt.training.enable_lora(model, rank=2))
    assert adapted and all("lora" in name for name in adapted)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "kind"), ON_BODIES)
def test_a_saved_model_answers_alike(head, kind, tmp_path):
    model = randomize(HEADS[head](make_body(kind)))
    inputs = inputs_of(kind)
    given = {"images": inputs} if kind == "vision" else inputs
    found = outputs_after_reload(model, given, tmp_path, BACKEND)
    expected = to_numpy(model(inputs))
    expected = expected if isinstance(expected, dict) else {"output": expected}
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_segments_are_read_or_zero(head):
    body = make_body("encoder")
    plain, paired = HEADS[head](body), HEADS[head](body, segments=True)
    randomize(plain)
    paired.get_layer("head").set_weights(plain.get_layer("head").get_weights())
    inputs = texts()
    segments = np.zeros_like(inputs["token_ids"])
    outputs = [
        np.concatenate([*one.values()]) if isinstance(one, dict) else one
        for one in (
            to_numpy(plain(inputs)),
            to_numpy(paired({**inputs, "segment_ids": segments})),
            to_numpy(paired({**inputs, "segment_ids": segments + 1})),
        )
    ]
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-6)
    assert np.abs(outputs[2] - outputs[0]).max() > 1e-3


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize(("head", "kind"), ON_BODIES)
def test_outputs_are_float32_under_half_precision(head, kind, policy):
    keras.config.set_dtype_policy(policy)
    model = HEADS[head](make_body(kind))
    outputs = model(inputs_of(kind))
    for output in outputs.values() if isinstance(outputs, dict) else [outputs]:
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
        assert np.isfinite(to_numpy(output)).all()


def test_tokens_without_weight_do_not_count():
    model = kt.models.token_classifier(make_body("encoder"), 3, dropout=0.0)
    rows, labels = [[5, 6, 7], [8, 9]], [[-1, 2, -1], [1, -1]]
    batches = kt.data.TaskBatches(rows, labels, batch_size=2, shuffle=False)
    inputs, _, _ = batches[0]
    probabilities = to_numpy(model(inputs))
    expected = -np.mean([np.log(probabilities[0, 1, 2]), np.log(probabilities[1, 0, 1])])
    loss = keras.losses.SparseCategoricalCrossentropy(reduction="mean_with_sample_weight")
    model.compile("sgd", loss, weighted_metrics=["accuracy"], run_eagerly=True)
    found = model.evaluate(batches, return_dict=True, verbose=0)
    right = [probabilities[0, 1].argmax() == 2, probabilities[1, 0].argmax() == 1]
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], np.mean(right), rtol=1e-6)


@pytest.mark.slow
def test_an_encoder_learns_where_answers_are():
    """The answer to a word is the span between the two places where it stands in the context."""
    random = np.random.default_rng(0)
    questions, contexts, spans = [], [], []
    for _ in range(256):
        context = random.integers(5, 15, 8)
        first, last = np.sort(random.choice(8, 2, replace=False))
        context[[first, last]] = 20 + random.integers(0, 5)
        questions.append([int(context[first])])
        contexts.append(context.tolist())
        spans.append((int(first), int(last)))
    rows = [[2, *q, 3, *c, 3] for q, c in zip(questions, contexts, strict=True)]
    labels = {k: [3 + span[i] for span in spans] for i, k in enumerate(("start", "end"))}
    segments = [[0, 0, 0] + [1] * 9 for _ in rows]
    batches = kt.data.TaskBatches(rows, labels, 64, 1, segment_ids=segments)
    model = kt.models.span_extractor(make_body("encoder", pooler=False), segments=True)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(batches, epochs=40, verbose=0)
    in_order = kt.data.TaskBatches(rows, None, 64, 1, shuffle=False, segment_ids=segments)
    words = [[-1] * 3 + [*range(8)] + [-1] for _ in rows]
    found = kt.data.best_spans(model.predict(in_order, verbose=0), words)
    assert (
        np.mean([span[:2] == expected for span, expected in zip(found, spans, strict=True)]) > 0.9
    )


def test_what_a_body_cannot_do_is_refused():
    bert, vit = make_body("encoder", pooler=False), make_body("vision")
    lm = make_body("language_model", padding_id=None)
    translator = kt.models.transformer(V, None, 1, 2, 8, 8)
    classifier = kt.models.classifier
    for call, message in (
        (lambda: classifier(translator, 2), "`body` must be a model as built by kt.models.bert"),
        (lambda: classifier("bert", 2), "`body` must be a model .* Received: body='bert'"),
        (lambda: classifier(bert, 0), "`num_classes` must be a positive integer"),
        (lambda: kt.models.regressor(bert, 0), "`num_outputs` must be a positive integer"),
        (lambda: classifier(bert, 2, pooling="extract"), "`pooling` must be one of .*'pooler'"),
        (lambda: classifier(bert, 2, pooling="pooler"), "without a layer `pooler`"),
        (lambda: classifier(bert, 2, pooling="middle"), "`pooling` must be one of"),
        (lambda: classifier(bert, 2, lm_weight=0.5), "`lm_weight` requires a language model"),
        (lambda: classifier(bert, 2, extract_id=3), "`extract_id` requires a language model"),
        (lambda: classifier(lm, 2, 3, pooling="mean"), "`extract_id` requires .*'mean'"),
        (lambda: classifier(lm, 2, pooling="mean"), "without a padding id"),
        (lambda: classifier(lm, 2, segments=True), "`segments` must be False"),
        (lambda: classifier(vit, 2, segments=True), "`segments` must be False"),
        (lambda: kt.models.token_classifier(vit, 2), "`body` must read text"),
        (lambda: kt.models.span_extractor(vit), "`body` must read text"),
        (lambda: kt.models.entailment(bert), "`lm` must be a language model"),
        (lambda: kt.models.similarity(bert), "`lm` must be a language model"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
