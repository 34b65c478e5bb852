"""The attention that figures show is what the model computed, with the labels of its axes."""

import keras
import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import normal, to_numpy
from tests.laws.models import NAMES, SOURCE_V, V, get_case
from tests.visualize import figure_models as models

SELF, CROSS = ("encoder_self_attention", "decoder_self_attention"), "cross_attention"


# === Weights of every layer and head ===


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_model_gives_its_weights(name):
    case = get_case(name)
    ids = {"token_ids": [[4, 5, 6, 7, 8], [9, 10, 11]]}
    if case.is_translator:
        size = min(V, SOURCE_V)
        ids = {"source_ids": [[4, 5, 6, size - 1], [7, 8]], "target_ids": [[2, 9, 10], [2, 11]]}
    if name == "recurrent_fixed_context":
        with pytest.raises(ValueError, match="`model` must call an attention layer"):
            kt.visualize.attention_scores(case.model, ids)
        return
    scores = kt.visualize.attention_scores(case.model, ids)
    lengths = {"source": 4, "target": 3} if case.is_translator else {"target": 5}
    for kind, layers in scores.items():
        sides = {SELF[0]: ("source", "source"), SELF[1]: ("target", "target")}
        rows, columns = sides.get(kind, ("target", "source"))
        for weights in layers:
            assert weights.shape[0] == 2
            assert weights.shape[2:] == (lengths[rows], lengths[columns])
            np.testing.assert_allclose(weights[0].sum(axis=-1), 1.0, atol=1e-5)
    if "recurrent" in name:
        assert list(scores) == [CROSS] and scores[CROSS][0].shape[1] == 1
    elif name == "ssru":
        assert list(scores) == [SELF[0], CROSS]
    elif case.is_translator:
        assert list(scores) == [SELF[0], SELF[1], CROSS]


def test_weights_are_those_of_the_layers():
    model = models.translator()
    inputs = models.sources_and_targets()
    scores = kt.visualize.attention_scores(model, inputs)
    parts = kt.decoding.DecodingModel(model)
    real = inputs["source_ids"] != 0
    result = parts.decode(
        inputs["target_ids"],
        encoded=parts.encode(inputs["source_ids"], real),
        padding_mask=inputs["target_ids"] != 0,
        encoded_padding_mask=real,
        return_attention_scores=True,
    )
    for kind, key in ((SELF[1], "self_attention_scores"), (CROSS, "cross_attention_scores")):
        found = result.get(key, result.get("attention_scores"))
        for weights, expected in zip(scores[kind], found, strict=True):
            np.testing.assert_allclose(weights, to_numpy(expected), atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "vit", "classifier"])
def test_encoders_alone(kind):
    if kind == "bert":
        scores = kt.visualize.attention_scores(models.bert(), models.ids_of_text(2, 5))
        assert [w.shape for w in scores[SELF[0]]] == [(2, 3, 5, 5)] * 2
    elif kind == "vit":
        scores = kt.visualize.attention_scores(models.vit(), normal(2, 20, 20, 3))
        assert [w.shape for w in scores[SELF[0]]] == [(2, 3, 17, 17)] * 2
    else:
        model = kt.models.sequence_classifier(23, 5, "transformer", hidden_dim=12, num_heads=3)
        scores = kt.visualize.attention_scores(model, models.ids_of_text(2, 5))
        assert [w.shape for w in scores[SELF[0]]] == [(2, 3, 5, 5)] * 2


# === Grids, lines and all heads ===


def test_a_grid_of_heads_without_padding():
    model, inputs = models.translator(), models.sources_and_targets()
    figure = kt.visualize.plot_attention(model, inputs, layer=1, heads=[2, 0], row=1)
    weights = kt.visualize.attention_scores(model, inputs)[CROSS][1][1, :, :3, :5]
    matrices = figure.data["matrices"]
    assert [matrix["title"] for matrix in matrices] == ["head 2", "head 0"]
    np.testing.assert_allclose(matrices[0]["values"], weights[2], atol=1e-5)
    texts = [str(one) for one in inputs["target_ids"][1, :3]]
    assert matrices[0]["rows"] == [
        f"{one} → {other}" for one, other in zip(texts, [*texts[1:], "…"], strict=True)
    ]
    assert matrices[0]["columns"] == [str(one) for one in inputs["source_ids"][1, :5]]
    assert figure.title == "Cross-attention, layer 1" and not figure.notes


def test_the_last_row_of_a_decoder_writes_what_the_model_predicts():
    model, inputs = models.language_model(), models.ids_of_text(1, 5)
    words = models.Words([f"w{index}" for index in range(23)])
    figure = kt.visualize.plot_attention(model, inputs, tokens=words)
    predicted = int(to_numpy(model(inputs))[0, -1].argmax())
    assert figure.data["matrices"][0]["rows"][-1].endswith(f"→ w{predicted}")


def test_all_kinds_and_layers_of_a_translator():
    model, inputs = models.translator(), models.sources_and_targets()
    for view in (kt.visualize.head_view, kt.visualize.model_view):
        attentions = view(model, inputs).data["attentions"]
        assert [one["name"] for one in attentions] == [
            "encoder self-attention",
            "decoder self-attention",
            "cross-attention",
        ]
        shapes = [one["weights"][0].shape for one in attentions]
        assert shapes == [(3, 7, 7), (3, 5, 5), (3, 5, 7)]
        assert [len(one["weights"]) for one in attentions] == [2, 2, 2]
    only = kt.visualize.head_view(model, inputs, -1, kind=SELF[0])
    assert len(only.data["attentions"]) == 1 and only.data["layer"] == 1


def test_hidden_keys_leave_the_rest_renormalized():
    model, inputs = models.translator(), models.sources_and_targets()
    words = {"source": [f"s{i}" for i in range(7)], "target": [f"t{i}" for i in range(5)]}
    plain = kt.visualize.plot_attention(model, inputs, tokens=words).data["matrices"][1]
    figure = kt.visualize.plot_attention(model, inputs, tokens=words, hide=[-1, "s0"])
    matrix = figure.data["matrices"][1]
    assert matrix["columns"] == [f"s{i}" for i in range(1, 6)]
    kept = plain["values"][:, 1:6]
    expected = kept / kept.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(matrix["values"], expected, atol=1e-6)
    expected = "Hidden in the cross-attention, and the rest renormalized: s0 (0), s6 (6)."
    assert figure.notes == [expected]


def test_rows_that_attend_to_hidden_keys_alone_are_zeros():
    figure = kt.visualize.plot_attention(
        models.language_model(), models.ids_of_text(1, 4), hide=[0]
    )
    values = figure.data["matrices"][0]["values"]
    assert not values[0].any()
    np.testing.assert_allclose(values[1:].sum(axis=-1), 1.0, atol=1e-6)


# === Rollout ===


def test_rollout_is_the_formula():
    model, inputs = models.bert(), models.ids_of_text(1, 5)
    figure = kt.visualize.attention_rollout(model, inputs, attention_share=0.3)
    expected = np.eye(5)
    for weights in kt.visualize.attention_scores(model, inputs)[SELF[0]]:
        expected = (0.3 * weights[0].mean(axis=0) + 0.7 * np.eye(5)) @ expected
    np.testing.assert_allclose(figure.data["layers"][-1], expected, atol=1e-6)
    np.testing.assert_array_equal(figure.data["matrices"][0]["values"], figure.data["layers"][-1])


def test_cross_attention_has_no_rollout():
    with pytest.raises(ValueError, match="`kind` must be a self-attention. Received: kind='cross"):
        kt.visualize.attention_rollout(
            models.translator(), models.sources_and_targets(), kind="cross_attention"
        )


# === Alignment ===


def test_alignment_is_the_mean_of_some_heads_of_a_layer():
    model, inputs = models.translator(), models.sources_and_targets()
    figure = kt.visualize.alignment(model, inputs, layer=0, heads=[0, 2])
    weights = kt.visualize.attention_scores(model, inputs)[CROSS][0][0, [0, 2]].mean(axis=0)
    (matrix,) = figure.data["matrices"]
    np.testing.assert_allclose(matrix["values"], weights, atol=1e-6)
    assert matrix["rows"] == [*map(str, inputs["target_ids"][0, 1:]), "…"]
    assert figure.data["pairs"] == [[i, int(j)] for i, j in enumerate(weights.argmax(axis=-1))]
    assert "layer 0, heads 0, 2" in figure.title


def test_alignment_of_a_recurrent_model():
    case = get_case("recurrent_luong_two_vocabularies")
    figure = kt.visualize.alignment(case.model, models.sources_and_targets())
    assert figure.data["matrices"][0]["values"].shape == (5, 7)
    assert "its only head" in figure.title


@pytest.mark.slow
def test_alignment_of_a_translator():
    texts = ["the cat sat on the mat", "a dog ran"]
    tokenizer = kt.data.train_tokenizer(texts, vocabulary_size=30, model_type="bpe")
    pipeline = kt.Translator(models.translator(30), tokenizer)
    figure = kt.visualize.alignment(pipeline, ("the cat", "a dog ran"))
    (matrix,) = figure.data["matrices"]
    assert "".join(matrix["columns"]).replace("␣", " ").strip().startswith("the cat")
    assert "".join(matrix["rows"][:-1]).replace("␣", " ").strip() == "a dog ran"
    translated = kt.visualize.alignment(pipeline, "the cat")
    assert len(translated.data["matrices"][0]["rows"]) >= 1


# === Messages ===


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer": 2}, "`layer` must be one of the 2 layers. Received: layer=2"),
        ({"layer": "0"}, "`layer` must be one of the 2 layers. Received: layer='0'"),
        ({"heads": [3]}, "`heads` must contain heads from 0 to 2. Received: heads=3"),
        ({"heads": []}, "`heads` must contain a head"),
        ({"kind": "self"}, "`kind` must be one of .'encoder_self_attention', .* kind='self'"),
        ({"row": 2}, "`row` must be a row of the batch of 2. Received: row=2"),
        ({"hide": [7]}, "`hide` must contain tokens, or positions from -7 to 6. Received: hide=7"),
        ({"hide": ["no"]}, "`hide` must contain tokens of the example. Received: hide='no'"),
        ({"hide": range(7)}, "`hide` must leave a position visible"),
        ({"tokens": ["a"]}, "`tokens` must have 7 entries, one for each id. Received: tokens="),
        ({"tokens": 5}, "`tokens` must be a list of strings or have a method `id_to_token`"),
    ],
)
def test_messages(arguments, message):
    model, inputs = models.translator(), models.sources_and_targets()
    with pytest.raises(ValueError, match=message):
        kt.visualize.plot_attention(model, inputs, **arguments)


def test_what_is_no_model_and_what_are_no_inputs():
    with pytest.raises(ValueError, match="`model` must be a Keras model, a Translator or a Text"):
        kt.visualize.model_view("gpt", "text")
    model = models.language_model()
    for ids in ([], [[]], [[0, 0]]):
        with pytest.raises(ValueError, match="`inputs` must contain"):
            kt.visualize.model_view(model, {"token_ids": ids})
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`model` must call an attention layer"):
        kt.visualize.attention_scores(dense, normal(2, 3))
