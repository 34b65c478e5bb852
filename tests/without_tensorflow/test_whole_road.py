"""From text to text on JAX and torch, with TensorFlow's import blocked."""

import sys

import keras
import numpy as np
import pytest
import transformers

import keras_transformer as kt
from tests.pretrained import folders

pytestmark = pytest.mark.skipif(
    sys.modules.get("tensorflow", ...) is not None, reason="needs BLOCK_TENSORFLOW=1"
)

SOURCES = ["one two three", "two three four", "three four five", "four five six", "five six one"]
TARGETS = ["un deux trois", "deux trois quatre", "trois quatre cinq", "quatre cinq six"] + [
    "cinq six un"
]


def test_tensorflow_really_is_blocked():
    with pytest.raises(ImportError):
        import tensorflow  # noqa: F401


def test_a_translator_is_trained_saved_loaded_and_used(tmp_path):
    keras.utils.set_random_seed(1)
    tokenizer = kt.data.train_tokenizer(SOURCES + TARGETS, 48, model_type="bpe")
    batches = kt.data.TranslationBatches(
        kt.data.encode(tokenizer, SOURCES), kt.data.encode(tokenizer, TARGETS), 256
    )
    model = kt.models.transformer(
        48, num_layers=1, num_heads=2, hidden_dim=32, intermediate_dim=64, dropout=0.0
    )
    model.compile(**kt.training.transformer_recipe(32, learning_rate=5e-3))
    translator = kt.Translator(model, tokenizer)
    evaluation = kt.training.TranslationEvaluation(
        translator, SOURCES, TARGETS, every_epochs=60, log_dir=tmp_path / "logs"
    )
    averaging = kt.training.CheckpointAveraging(2, "epoch")
    model.fit(batches, epochs=120, verbose=0, callbacks=[evaluation, averaging])
    assert len(evaluation.history) == 3
    assert evaluation.evaluate()["val_chrf"] == pytest.approx(100.0)
    assert len(list((tmp_path / "logs").iterdir())) == 1
    assert translator.translate(SOURCES) == TARGETS
    translator.save(tmp_path / "folder")
    assert kt.Translator.load(tmp_path / "folder").translate(SOURCES) == TARGETS


def test_a_language_model_is_trained_and_continues_text():
    keras.utils.set_random_seed(1)
    ids = np.tile(np.arange(4, 17), 40)
    model = kt.models.gpt(
        17, num_layers=1, num_heads=2, hidden_dim=32, intermediate_dim=64, max_length=32
    )
    recipe = kt.training.gpt1_pretraining_recipe(200, warmup_steps=10, peak_learning_rate=1e-2)
    model.compile(**recipe)
    model.fit(kt.data.LanguageModelBatches(ids, length=13, batch_size=8), epochs=30, verbose=0)
    continued = kt.decoding.generate(model, [[6, 7, 8], [15, 16]], max_new_tokens=5)
    assert continued.tolist() == [[6, 7, 8, 9, 10, 11, 12, 13], [15, 16, 4, 5, 6, 7, 8, 0]]


def test_foreign_tokenizers_give_ids_and_text(tmp_path):
    for family in ("gpt1", "gpt2", "bert", "marian"):
        folder = getattr(folders, family)(tmp_path / family)
        tokenizer = kt.pretrained.load_tokenizer(folder)
        rows = kt.data.encode(tokenizer, ["the cat sat on the mat"])
        assert kt.data.decode(tokenizer, rows) == ["the cat sat on the mat"]
        kt.data.save_tokenizer(tokenizer, tmp_path / f"{family}-ours")
        assert kt.data.load_tokenizer(tmp_path / f"{family}-ours")(["the cat"])


def test_a_foreign_language_model_continues_text(tmp_path):
    config = transformers.GPT2Config(
        vocab_size=400, n_positions=16, n_embd=8, n_layer=1, n_head=2, eos_token_id=0
    )
    folders.gpt2(tmp_path)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    generator = kt.TextGenerator.from_pretrained(tmp_path)
    assert generator.generate("The cat", max_new_tokens=3).startswith("The cat")
