"""Figures: pages that hold all they need, text that stays text, and pictures of them."""

import html
import json
import re
import sys

import numpy as np
import pytest

import keras_transformer as kt
from tests.visualize import figure_models as models


def make_figure(tokens=models.AWKWARD):
    size = len(tokens)
    values = np.random.default_rng(0).dirichlet(np.ones(size), size).astype("float32")
    axes = {"rows": list(tokens), "columns": list(tokens), "row_name": "to", "column_name": "of"}
    matrix = {"title": tokens[0], "values": values, **axes}
    return kt.visualize.Figure(tokens[0], "matrices", {"matrices": [matrix]}, [tokens[0]])


def embedded(page):
    """The data of a page, as its script reads them."""
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(text)


# === Pages ===


def test_a_page_holds_all_it_needs_and_asks_for_nothing():
    page = make_figure(["a", "b"]).html()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert not re.search(r"<(link|img|iframe)|\bsrc=|@import|url\(|\bfetch\(", page)
    assert "default-src 'none'; script-src 'sha256-" in page
    assert not re.search(r"^\s*(import|export)\b", page, re.M)


@pytest.mark.parametrize("token", models.AWKWARD)
def test_tokens_stay_text(token):
    figure = make_figure([token, "b"])
    page = figure.html()
    data = embedded(page)
    assert data["data"]["matrices"][0]["rows"][0] == data["title"] == token
    script = page.split("<style>")[1]
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "\u2028" not in script and "\u202e" not in script and "<img" not in page
    assert f"<title>{html.escape(token)}</title>" in page
    frame = figure._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts" ')
    assert re.fullmatch(r'<iframe( [a-z]+="[^"]*")+></iframe>', frame)
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == page


def test_weights_take_two_bytes_and_other_numbers_four():
    weights, numbers = np.array([[0.0, 0.25], [1.0, 0.5]]), np.array([-np.inf, 2.5], "float32")
    data = kt.visualize.Figure("", "tree", {"a": weights, "b": numbers, "c": np.int64(3)}).html()
    data = embedded(data)["data"]
    assert data["a"]["dtype"] == "uint16" and data["a"]["shape"] == [2, 2]
    assert data["b"]["dtype"] == "float32" and data["c"] == 3


def test_a_hundred_tokens_of_forty_eight_heads_are_below_five_megabytes(tmp_path):
    size, layers, heads = 100, 6, 8
    weights = np.random.default_rng(0).dirichlet(np.ones(size), (layers, heads, size))
    one = {"name": "", "rows": ["word"] * size, "columns": ["word"] * size}
    one |= {"row_name": "", "column_name": "", "weights": list(weights)}
    figure = kt.visualize.Figure("Model view", "model_view", {"attentions": [one] * 3})
    figure.save(tmp_path / "view.html")
    assert 3_800_000 < (tmp_path / "view.html").stat().st_size < 5_000_000


# === Files ===


def all_figures():
    model, inputs = models.translator(), models.sources_and_targets()
    words = models.Words()
    view = kt.visualize
    return {
        "plot_attention": view.plot_attention(model, inputs, tokens=words, hide=[0]),
        "head_view": view.head_view(model, inputs, tokens=words),
        "model_view": view.model_view(model, inputs, tokens=words),
        "rollout": view.attention_rollout(model, inputs, tokens=words),
        "alignment": view.alignment(model, inputs, tokens=words),
        "logit_lens": view.logit_lens(model, inputs, tokens=words),
        "saliency": view.saliency(model, inputs, tokens=words),
        "beam_tree": view.beam_tree(model, [5, 9, 3], 2, tokens=words, max_length=4),
        "positions": view.plot_positions(model, 9),
        "vit": view.plot_vit_attention(models.vit(), np.ones((20, 20, 3)), layer=1, head=2),
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No installed font has the characters:UserWarning")
def test_every_figure_is_saved_in_every_format(tmp_path):
    pytest.importorskip("matplotlib")
    for name, figure in all_figures().items():
        for form, start in (("html", b"<!DOCTYPE"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
            path = tmp_path / f"{name}.{form}"
            figure.save(path, dpi=50)
            assert path.read_bytes().startswith(start), (name, form)


def test_axes_of_a_picture_have_names(tmp_path):
    pytest.importorskip("matplotlib")
    make_figure(["a", "b"]).save(tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "<!-- to -->" in drawn and "<!-- of -->" in drawn


def test_characters_without_a_font_are_told(tmp_path):
    pytest.importorskip("matplotlib")
    figure = make_figure(["a", "\U000e0123"])  # a character that no font has
    with pytest.warns(UserWarning, match=r"No installed font has the characters .*fonts-ipafont"):
        figure.save(tmp_path / "figure.png")


def test_japanese_is_drawn_with_a_font_that_has_it(tmp_path):
    manager = pytest.importorskip("matplotlib.font_manager")
    if not any("ipag" in path or "NotoSansCJK" in path for path in manager.findSystemFonts()):
        pytest.skip("no Japanese font is installed")
    make_figure(["猫", "吾輩は"]).save(tmp_path / "figure.png")  # a warning would be an error


def test_a_picture_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install keras-transformer-layers\[viz\]"):
        make_figure().save(tmp_path / "figure.svg")
    make_figure().save(tmp_path / "figure.html")


def test_messages(tmp_path):
    with pytest.raises(ValueError, match="`path` must end in one of .* Received: path='a.gif'"):
        make_figure().save("a.gif")
    with pytest.raises(ValueError, match="`view` must be one of"):
        kt.visualize.Figure("", "pie", {})


# === Labels ===


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("", "∅"),
        ("  a ", "␣␣a␣"),
        (" ", "␣"),
        ("a\nb", "a⏎b"),
        ("\u0301e", "◌\u0301e"),
        ("a\u2028", "aU+2028"),
        ("\u202ex", "U+202Ex"),
        ("<b>&", "<b>&"),
        ("שלום", "שלום"),
    ],
)
def test_tokens_are_visible(token, shown):
    from keras_transformer.visualize.token_labels import visible

    assert visible(token) == shown


def test_byte_level_tokens_are_decoded():
    from keras_transformer.visualize.readable_tokens import readable_token

    class ByteLevel:
        words = ["Ġthe", "çĮ«", "çĮ", "Ċ"]

        def vocabulary_size(self):
            return 4

        def id_to_token(self, token_id):
            return self.words[token_id]

    shown = [readable_token(ByteLevel(), index) for index in range(5)]
    assert shown[:2] == ["␣the", "猫"] and shown[4] == "<4>"
    assert shown[2] == "<0xE7><0x8C>" and shown[3] == "⏎"
