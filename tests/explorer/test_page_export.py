"""One run as a page in a single file."""

import base64
import json
import re

import numpy as np
import pytest

import keras_transformer as kt
from keras_transformer.explorer import Answers, OpenedModel, open_model
from keras_transformer.explorer.page_export import MAX_BYTES, exported_page
from tests.explorer import KINDS, answers_of, tiny_model, tiny_tokenizer


def data_of(page):
    """The data that a page holds."""
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_needs_nothing_but_itself(kind):
    answers = answers_of(kind)
    page = exported_page(answers)
    assert len(page.encode()) < MAX_BYTES
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page.replace("import ", ""))
    assert page.count("<script") == 2 and "default-src 'none'" in page
    data = data_of(page)
    assert data["model"]["kind"] == answers.opened.kind
    assert set(data["strings"]) == set(data["cards"]) == {"en", "ja"}
    run = data["run"]
    for name, tensor in data["tensors"].items():
        assert tensor["shape"] == run["tensors"][name]
    if kind in ("translator", "ssru", "recurrent"):
        assert data["translate"]["tree"]["hypotheses"] and data["weights"]["cross"]
    if kind in ("recurrent", "ssru", "classifier"):
        assert data["states"]
    if kind == "language_model":
        assert len(data["vocabulary"]) == data["tensors"][run["output"]["logits"]]["shape"][-1]


def test_markup_in_a_text_is_text():
    answers = answers_of("encoder")
    text = "</script><script>alert(1)</script> & \u2028 [MASK]"
    page = exported_page(answers, text)
    assert page.count("</script>") == 2 and "alert(1)</script>" not in page
    data = data_of(page)
    assert data["run"]["text"] == text and data["mask"]["positions"]


@pytest.mark.slow
def test_a_hundred_tokens_of_six_layers_and_eight_heads_fit():
    """Three attentions each; of the other tensors, those that fit."""
    tokenizer = tiny_tokenizer()
    model = kt.models.transformer(
        tokenizer.vocabulary_size(), num_layers=6, num_heads=8, hidden_dim=64, intermediate_dim=256
    )
    opened = OpenedModel(model, "six layers", kt.Translator(model, tokenizer))
    text = "a " * 98 + "a"
    page = exported_page(Answers(opened), text, text)
    assert len(page.encode()) < MAX_BYTES
    data = data_of(page)
    assert len(data["run"]["tokens"]["encoder"]) == len(data["run"]["tokens"]["decoder"]) == 100
    for kind in ("encoder", "decoder", "cross"):
        weights = data["weights"][kind]
        assert weights["shape"] == [6, 8, 100, 100] and weights["dtype"] == "uint16"
        values = np.frombuffer(base64.b64decode(weights["data"]), "<u2").reshape(6, 8, 100, 100)
        np.testing.assert_allclose(values.sum(axis=-1) / 65535, 1.0, atol=1e-3)


@pytest.mark.slow
def test_the_command_writes_a_page(tmp_path, capsys):
    from keras_transformer.explorer.__main__ import main

    tiny_model("language_model").pipeline.save(tmp_path / "generator")
    path = tmp_path / "page.html"
    arguments = [str(tmp_path / "generator"), "--export", str(path), "--text", "the old dog"]
    assert main(arguments) == 0
    assert f"{path}: 0." in capsys.readouterr().out
    assert data_of(path.read_text(encoding="utf-8"))["run"]["text"] == "the old dog"
    assert open_model(tmp_path / "generator").kind == "language_model"
    assert main([*arguments[:-1], "the cat " * 50]) == 1
    assert "`text` must have at most 40 tokens" in capsys.readouterr().err
