"""Figures of patches and of positions."""

import numpy as np
import pytest

import keras_transformer as kt
from tests.harness import normal
from tests.visualize import figure_models as models

# === Patches ===


def test_maps_are_the_class_tokens_rows():
    model, image = models.vit(), normal(20, 20, 3)
    figure = kt.visualize.plot_vit_attention(model, image, layer=-1, head=1)
    weights = kt.visualize.attention_scores(model, image[None])["encoder_self_attention"]
    maps = figure.data["maps"]
    assert [one["title"] for one in maps[:3]] == [
        "rollout",
        "layer 0, mean of the heads",
        "layer 0, head 0",
    ]
    assert len(maps) == 1 + 2 * (1 + 3)
    chosen = maps[figure.data["selected"]]
    assert chosen["title"] == "layer 1, head 1"
    expected = weights[1][0, 1, 0, 1:].reshape(4, 4)
    np.testing.assert_allclose(chosen["values"], expected, atol=1e-6)
    rollout = kt.visualize.attention_rollout(model, image[None]).data["layers"][-1]
    np.testing.assert_allclose(maps[0]["values"], rollout[0, 1:].reshape(4, 4), atol=1e-6)
    mean = kt.visualize.plot_vit_attention(model, image, layer=0).data
    assert maps[mean["selected"]]["title"] == "layer 0, mean of the heads"


@pytest.mark.parametrize("scale", [1.0, 255.0, -3.0])
def test_pictures_are_brought_to_the_range_of_colors(scale):
    model, image = models.vit(), np.linspace(0, 1, 1200).reshape(20, 20, 3)
    data = kt.visualize.plot_vit_attention(model, image, picture=image * scale).data
    pixels = data["pixels"]
    assert pixels.shape == (20, 20, 3) and pixels.min() == 0.0 and pixels.max() == 1.0
    gray = kt.visualize.plot_vit_attention(model, image, picture=image[..., :1]).data["pixels"]
    assert gray.shape == (20, 20, 3)


def test_axes_of_patches_have_names():
    figure = kt.visualize.plot_attention(models.vit(), normal(1, 20, 20, 3))
    assert figure.data["matrices"][0]["rows"][:3] == ["class", "0,0", "0,1"]


def test_messages_of_patches():
    with pytest.raises(ValueError, match="`model` must be a Vision Transformer"):
        kt.visualize.plot_vit_attention(models.bert(), normal(20, 20, 3))
    model = models.vit()
    with pytest.raises(ValueError, match=r"`image` must be one image of the shape \(20, 20, 3\)"):
        kt.visualize.plot_vit_attention(model, normal(2, 20, 20, 3))
    with pytest.raises(ValueError, match="`head` must be given with `layer`. Received: head=1"):
        kt.visualize.plot_vit_attention(model, normal(20, 20, 3), head=1)
    with pytest.raises(ValueError, match="`picture` must be one picture of 1 or 3 channels"):
        kt.visualize.plot_vit_attention(model, normal(20, 20, 3), picture=normal(20, 20, 2))


# === Positions ===


def test_positions_are_the_sinusoids_and_their_similarity():
    model = models.translator()
    table, similarity = kt.visualize.plot_positions(model, 7).data["matrices"]
    angles = np.arange(7)[:, None] / 10000.0 ** (np.arange(6) / 6)
    expected = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(7, 12)
    np.testing.assert_allclose(table["values"], expected, atol=1e-5)
    np.testing.assert_allclose(similarity["values"], expected @ expected.T / 6, atol=1e-5)


def test_learned_positions_are_the_table():
    for model in (models.language_model(max_length=9), models.bert(max_length=9)):
        table, _ = kt.visualize.plot_positions(model).data["matrices"]
        assert table["values"].shape == (9, 12)
    stack = models.language_model(max_length=9).get_layer("decoder")
    embeddings = np.array(stack.positional_encoding.embeddings)
    found = kt.visualize.plot_positions(stack, 4).data["matrices"][0]["values"]
    np.testing.assert_allclose(found, embeddings[:4], atol=1e-6)


def test_messages_of_positions():
    rotary = models.language_model(max_length=None, rotary=True)
    with pytest.raises(ValueError, match="`model` must add positions to its input"):
        kt.visualize.plot_positions(rotary)
    with pytest.raises(ValueError, match="`length` must be at most 9. Received: length=10"):
        kt.visualize.plot_positions(models.language_model(max_length=9), 10)
    with pytest.raises(ValueError, match="`hidden_dim` must be given for a layer that is not"):
        kt.visualize.plot_positions(kt.layers.PositionalEncoding())
