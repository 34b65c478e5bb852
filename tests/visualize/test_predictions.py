"""Logit lens and saliency, against the model's own logits and numerical gradients."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import BACKEND, to_numpy
from tests.laws.models import NAMES, get_case
from tests.visualize import figure_models as models


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


# === Logit lens ===


@pytest.mark.parametrize("normalize_first", [False, True])
@pytest.mark.parametrize(
    "kind", ["gpt", "untied_gpt", "translator", "bert", "bert_without_segments"]
)
def test_the_last_layer_is_the_models_prediction(kind, normalize_first):
    options = {"normalize_first": normalize_first}
    if kind == "translator":
        model, inputs = models.translator(**options), models.sources_and_targets()
    elif kind.startswith("bert"):
        options["num_segments"] = 2 if kind == "bert" else None
        model, inputs = models.bert(masked_lm=True, **options), models.ids_of_text(1, 5)
    else:
        model = models.language_model(share_embeddings=kind == "gpt", **options)
        inputs = models.ids_of_text(1, 5)
    figure = kt.visualize.logit_lens(model, inputs, top=4)
    if kind == "bert":
        inputs = {**inputs, "segment_ids": np.zeros_like(inputs["token_ids"])}
    output = model(inputs)
    logits = to_numpy(output["logits"] if isinstance(output, dict) else output)[0]
    expected = -np.sort(-softmax(logits), axis=-1)[:, :4]
    data = figure.data
    np.testing.assert_allclose(data["probabilities"][-1], expected, atol=1e-5)
    np.testing.assert_array_equal(data["ids"][-1, :, 0], logits.argmax(axis=-1))
    assert data["rows"] == ["embedding", "layer 0", "layer 1"]
    assert data["probabilities"].shape == (3, 5, 4)
    assert ("final norm" if normalize_first else "post-LN") in figure.notes[0]


def test_layers_are_the_logits_of_their_hidden_states():
    model, inputs = models.language_model(normalize_first=True), models.ids_of_text(1, 5)
    decoder = model.get_layer("decoder")
    embedded = model.get_layer("token_embedding")(inputs["token_ids"])
    first = decoder.positional_encoding(embedded)
    states = [first, decoder.blocks[0](first)]
    parts = kt.decoding.DecodingModel(model)
    data = kt.visualize.logit_lens(model, inputs, top=23).data
    for index, hidden in enumerate(states):
        probabilities = softmax(to_numpy(parts.logits(decoder.final_norm(hidden)))[0])
        found = np.take_along_axis(probabilities, data["ids"][index], axis=-1)
        np.testing.assert_allclose(data["probabilities"][index], found, atol=1e-5)
        entropy = -(probabilities * np.log(probabilities)).sum(axis=-1)
        np.testing.assert_allclose(data["entropies"][index], entropy, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NAMES if "recurrent" not in n])
def test_every_stack_of_blocks_has_a_lens(name):
    case = get_case(name)
    inputs = models.sources_and_targets() if case.is_translator else models.ids_of_text(1, 5)
    data = kt.visualize.logit_lens(case.model, inputs, top=2).data
    logits = to_numpy(case.model(inputs))[0]
    np.testing.assert_allclose(
        data["probabilities"][-1], -np.sort(-softmax(logits), axis=-1)[:, :2], atol=1e-5
    )


def test_models_without_a_lens():
    with pytest.raises(ValueError, match="`model` must predict tokens of a vocabulary"):
        kt.visualize.logit_lens(models.bert(), models.ids_of_text(1, 5))
    case = get_case("recurrent_fixed_context")
    with pytest.raises(ValueError, match="`model` must have Transformer blocks"):
        kt.visualize.logit_lens(case.model, models.sources_and_targets())
    with pytest.raises(ValueError, match="`top` must be a positive integer"):
        kt.visualize.logit_lens(case.model, models.sources_and_targets(), top=0)


# === Saliency ===


def numerical_saliency(layer, ids, logit, step=3e-3):
    """Gradient times input of each row of an embedding, for ids that are all different."""
    table = to_numpy(layer.embeddings)
    result = np.zeros(len(ids))
    for position, token_id in enumerate(ids):
        direction = np.zeros_like(table)
        # The derivative along the input itself is the gradient times the input.
        direction[token_id] = table[token_id]
        values = []
        for sign in (1.0, -1.0):
            layer.embeddings.assign(table + sign * step * direction)
            values.append(logit())
        result[position] = (values[0] - values[1]) / (2 * step)
    layer.embeddings.assign(table)
    return result


def test_saliency_is_the_gradient_times_the_input():
    model = models.language_model(share_embeddings=False)
    ids = np.array([[5, 9, 17, 11]], "int32")
    figure = kt.visualize.saliency(model, {"token_ids": ids}, position=2, output_id=8)
    expected = numerical_saliency(
        model.get_layer("token_embedding"),
        ids[0],
        lambda: float(to_numpy(model({"token_ids": ids}))[0, 2, 8]),
    )
    found = figure.data["saliency"]["target"]
    np.testing.assert_allclose(found, expected, atol=2e-3, rtol=2e-2)
    assert found[3] == 0.0  # the future
    items = figure.data["groups"][0]["items"]
    assert [item["label"] for item in items] == ["5", "9", "17", "11"]
    np.testing.assert_allclose([item["value"] for item in items], found)


@pytest.mark.slow
def test_saliency_of_a_translator_has_both_sides():
    model = models.translator(share_embeddings=False, target_vocabulary_size=23)
    inputs = {
        "source_ids": np.array([[5, 9, 17]], "int32"),
        "target_ids": np.array([[2, 8, 12, 6]], "int32"),
    }
    data = kt.visualize.saliency(model, inputs, -2, 7).data["saliency"]
    for side in ("source", "target"):
        expected = numerical_saliency(
            model.get_layer(f"{side}_embedding"),
            inputs[f"{side}_ids"][0],
            lambda: float(to_numpy(model(inputs))[0, 2, 7]),
        )
        np.testing.assert_allclose(data[side], expected, atol=2e-3, rtol=2e-2)


@pytest.mark.slow
def test_a_shared_embedding_keeps_its_sides_apart():
    model = models.translator()
    # No id occurs twice, nor is one of them the output's: each row of the table is read once.
    inputs = {
        "source_ids": np.array([[5, 9, 17]], "int32"),
        "target_ids": np.array([[2, 8, 12]], "int32"),
    }
    data = kt.visualize.saliency(model, inputs, -1, 7).data["saliency"]
    for side in ("source", "target"):
        expected = numerical_saliency(
            model.get_layer("token_embedding"),
            inputs[f"{side}_ids"][0],
            lambda: float(to_numpy(model(inputs))[0, 2, 7]),
        )
        np.testing.assert_allclose(data[side], expected, atol=2e-3, rtol=2e-2)


def test_saliency_of_a_classifier_and_of_a_padded_row():
    model = kt.models.sequence_classifier(23, 5, "transformer", hidden_dim=12, num_heads=3)
    ids = np.array([[5, 9, 17, 0, 0], [4, 5, 6, 7, 8]], "int32")
    padded = kt.visualize.saliency(model, {"token_ids": ids}, output_id=3).data["saliency"]
    alone = kt.visualize.saliency(model, {"token_ids": ids[:1, :3]}, output_id=3).data["saliency"]
    assert padded["source"].shape == (3,)
    np.testing.assert_allclose(padded["source"], alone["source"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_a_saliency(name):
    case = get_case(name)
    inputs = models.sources_and_targets() if case.is_translator else models.ids_of_text(1, 5)
    data = kt.visualize.saliency(case.model, inputs).data["saliency"]
    assert all(np.isfinite(values).all() and values.any() for values in data.values())


def test_no_gradient_stays_behind():
    model = models.language_model()
    before = [set(vars(layer)) for layer in model._flatten_layers()]
    kt.visualize.saliency(model, models.ids_of_text(1, 5))
    assert [set(vars(layer)) for layer in model._flatten_layers()] == before
    if BACKEND == "torch":
        assert all(weight.value.grad is None for weight in model.weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"position": 5}, "`position` must be one of the 5 positions. Received: position=5"),
        ({"output_id": 23}, "`output_id` must be one of the 23 outputs. Received: output_id=23"),
    ],
)
def test_messages(arguments, message):
    with pytest.raises(ValueError, match=message):
        kt.visualize.saliency(models.language_model(), models.ids_of_text(1, 5), **arguments)
    with pytest.raises(ValueError, match="`model` must embed tokens"):
        kt.visualize.saliency(models.vit(), np.ones((1, 20, 20, 3), "float32"))
    with pytest.raises(ValueError, match="`model` must have the output `logits`"):
        kt.visualize.saliency(models.bert(), models.ids_of_text(1, 5))
