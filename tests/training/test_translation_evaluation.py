"""BLEU and chrF during training: what is reported, when, and what Keras's callbacks do with it."""

import csv
import glob
import itertools
import sys

import keras
import numpy as np
import pytest
import sacrebleu

import keras_transformer as kt
from keras_transformer.training import TranslationEvaluation

SOURCES = ["the cat sat", "a dog ran off", "the old dog slept", "a cat slept", "the dog sat"]
# Long enough for BLEU, which is 0 without four words in a row.
TARGETS = [
    "le chat dort sur le lit",
    "un chien court dans la rue",
    "le vieux chien dort la nuit",
    "un chat dort dans la rue",
    "le chien est sur le lit",
]
REFERENCES = [[TARGETS[0], "le chat est sur le lit"], *([text] for text in TARGETS[1:])]
VOCABULARY_SIZE = 64


@pytest.fixture(scope="module")
def tokenizer():
    return kt.data.train_tokenizer(SOURCES + TARGETS, VOCABULARY_SIZE, model_type="bpe")


def make_batches(tokenizer):
    rows = kt.data.encode(tokenizer, SOURCES), kt.data.encode(tokenizer, TARGETS)
    return kt.data.TranslationBatches(*rows, tokens_per_batch=32, max_shapes=1)


def make_translator(tokenizer, optimizer=None):
    model = kt.models.transformer(
        VOCABULARY_SIZE,
        num_layers=1,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        dropout=0.0,
    )
    optimizer = optimizer or keras.optimizers.Adam(1e-2)
    model.compile(optimizer, kt.training.MaskedCrossentropy(), jit_compile=False)
    return kt.Translator(model, tokenizer)


def fit(model, batches, callbacks, epochs=2, **more):
    return model.fit(
        batches, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks, **more
    ).history


def by_hand(translations):
    columns = list(itertools.zip_longest(*REFERENCES))
    return {
        "val_bleu": sacrebleu.corpus_bleu(translations, columns).score,
        "val_chrf": sacrebleu.corpus_chrf(translations, columns).score,
    }


class Weights(keras.callbacks.Callback):
    """Keeps the weights at the end of each epoch, as the callbacks before it left them."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append([np.array(weight) for weight in self.model.get_weights()])


class Script:
    """A translator that knows in advance how many translations each evaluation gets right."""

    def __init__(self, *num_right):
        self.num_right = iter(num_right)
        self.calls = []

    def translate(self, texts, batch_size=64, verbose=0, num_beams=1):
        self.calls.append((batch_size, verbose, num_beams))
        right = next(self.num_right)
        return [text if i < right else "?" for i, text in enumerate(TARGETS)]


def small_model(steps_per_execution=1, **optimizer):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.SGD(0.01, **optimizer),
        "mse",
        steps_per_execution=steps_per_execution,
        jit_compile=False,
    )
    return model


def run(evaluation, epochs, *others, model=None, **more):
    """Trains, for three steps per epoch, a model that the scripted translator does not use."""
    model = model or small_model()
    return model.fit(
        np.ones((6, 5)),
        np.ones((6, 1)),
        batch_size=2,
        epochs=epochs,
        verbose=0,
        callbacks=[evaluation, *others],
        **more,
    ).history


def score_of(num_right):
    translations = [text if i < num_right else "?" for i, text in enumerate(TARGETS)]
    return sacrebleu.corpus_chrf(translations, [TARGETS]).score


# --- The scores ---


@pytest.mark.slow
def test_scores_are_those_of_translations_by_hand(tokenizer):
    translator = make_translator(tokenizer)
    evaluation = TranslationEvaluation(
        translator, SOURCES, REFERENCES, every_epochs=9, max_new_tokens=13
    )
    weights = Weights()
    history = fit(translator.model, make_batches(tokenizer), [evaluation, weights], 27)
    for epoch in (0, 8, 26):
        translator.model.set_weights(weights.epochs[epoch])
        expected = by_hand(translator.translate(SOURCES, max_new_tokens=13))
        for name, score in expected.items():
            assert history[name][epoch] == pytest.approx(score)
    # The model learns, so that the scores of one epoch cannot pass for those of another.
    assert history["val_chrf"][26] > history["val_chrf"][0]
    assert history["val_bleu"][26] > 1.0
    assert evaluation.translations == translator.translate(SOURCES, max_new_tokens=13)
    (first, *_) = evaluation.samples
    assert first == (SOURCES[0], evaluation.translations[0], REFERENCES[0])
    assert len(evaluation.samples) == 3
    assert [one["val_bleu"] for one in evaluation.history] == [
        history["val_bleu"][one["epoch"] - 1] for one in evaluation.history
    ]


@pytest.mark.slow
def test_training_goes_on_as_without_it(tokenizer):
    losses = []
    for evaluate in (False, True):
        keras.utils.set_random_seed(7)
        translator = make_translator(tokenizer)
        batches = make_batches(tokenizer)
        callbacks = []
        if evaluate:
            callbacks = [
                TranslationEvaluation(translator, SOURCES, REFERENCES, every_steps=1, num_beams=2)
            ]
        losses.append(fit(translator.model, batches, callbacks, 3)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
def test_averaged_weights_are_what_is_evaluated(tokenizer):
    optimizer = keras.optimizers.Adam(2e-2, use_ema=True, ema_momentum=0.8)
    translator = make_translator(tokenizer, optimizer)
    raw, averaged = Weights(), Weights()
    evaluation = TranslationEvaluation(translator, SOURCES, REFERENCES, max_new_tokens=13)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    history = fit(translator.model, make_batches(tokenizer), [raw, swap, evaluation, averaged], 12)
    scores = {}
    for name, snapshots in {"raw": raw, "averaged": averaged}.items():
        scores[name] = []
        for weights in snapshots.epochs:
            translator.model.set_weights(weights)
            scores[name].append(by_hand(translator.translate(SOURCES, max_new_tokens=13)))
    found = [
        dict(zip(scores["raw"][0], pair, strict=True))
        for pair in zip(history["val_bleu"], history["val_chrf"], strict=True)
    ]
    assert [pytest.approx(one) for one in scores["averaged"]] == found
    assert scores["averaged"] != scores["raw"]


@pytest.mark.slow
def test_averaged_checkpoints_are_evaluated_after_training(tokenizer):
    translator = make_translator(tokenizer)
    evaluation = TranslationEvaluation(translator, SOURCES, REFERENCES, max_new_tokens=13)
    averaging = kt.training.CheckpointAveraging(12, "epoch")
    fit(translator.model, make_batches(tokenizer), [evaluation, averaging], 12)
    before = evaluation.translations
    scores = evaluation.evaluate()
    expected = by_hand(translator.translate(SOURCES, max_new_tokens=13))
    assert scores == evaluation.scores == pytest.approx(expected)
    assert evaluation.translations != before
    assert len(evaluation.history) == 12


@pytest.mark.slow
def test_a_model_around_the_translators(tokenizer):
    translator = make_translator(tokenizer)
    chunked = kt.training.ChunkedLossModel(translator.model)
    loss = kt.training.MaskedCrossentropy()
    chunked.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=False)
    evaluation = TranslationEvaluation(
        translator, SOURCES, REFERENCES, every_epochs=18, max_new_tokens=13
    )
    history = fit(chunked, make_batches(tokenizer), [evaluation], 18)
    expected = by_hand(translator.translate(SOURCES, max_new_tokens=13))
    assert history["val_chrf"][-1] == pytest.approx(expected["val_chrf"])
    assert history["val_chrf"][-1] > history["val_chrf"][0]


@pytest.mark.slow
def test_a_resumed_training_reports_the_same(tokenizer, tmp_path):
    translator = make_translator(tokenizer)
    settings = {"every_epochs": 2, "every_steps": 5, "max_new_tokens": 13}
    whole = TranslationEvaluation(translator, SOURCES, REFERENCES, **settings)
    batches = make_batches(tokenizer)
    save = kt.training.SaveTraining(tmp_path, batches)

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 4:
                (tmp_path / "copy").mkdir()
                for path in tmp_path.glob("*.*"):
                    (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())

    fit(translator.model, batches, [whole, save, Interrupt()], 8)
    again = make_batches(tokenizer)
    model, epoch = kt.training.load_training(tmp_path / "copy", again)
    assert epoch == 5
    rest = TranslationEvaluation(kt.Translator(model, tokenizer), SOURCES, REFERENCES, **settings)
    fit(model, again, [rest], 8, initial_epoch=epoch)
    # Epoch 6, and the steps divisible by 5, are evaluated at the same steps as before.
    later = [one for one in whole.history if one["epoch"] > 5]
    assert [pytest.approx(one, rel=1e-3) for one in later] == rest.history
    assert len(later) >= 3


@pytest.mark.slow
def test_beams_and_languages_are_those_of_translate(tokenizer):
    translator = make_translator(tokenizer)
    options = {"num_beams": 3, "length_penalty": 0.0, "batch_size": 2, "max_new_tokens": 13}
    evaluation = TranslationEvaluation(translator, SOURCES, REFERENCES, **options)
    fit(translator.model, make_batches(tokenizer), [evaluation], 5)
    assert evaluation.translations == translator.translate(SOURCES, **options)
    with pytest.raises(ValueError, match="`target_language` must be None"):
        TranslationEvaluation(translator, SOURCES, REFERENCES, target_language="fr")


# --- When it is due, and Keras's callbacks ---


def test_options_reach_the_translator():
    script = Script(1)
    evaluation = TranslationEvaluation(script, SOURCES, TARGETS, num_beams=3, batch_size=7)
    run(evaluation, 1)
    assert script.calls == [(7, 0, 3)]


@pytest.mark.parametrize(
    ("settings", "epochs", "steps"),
    [
        # Three steps per epoch; the first epoch always has scores.
        ({}, 4, [3, 6, 9, 12]),
        ({"every_epochs": 2}, 5, [3, 6, 12]),
        ({"every_epochs": 3}, 7, [3, 9, 18]),
        ({"every_epochs": None, "every_steps": 2}, 2, [2, 4, 6]),
        ({"every_epochs": None, "every_steps": 5}, 4, [3, 5, 10]),
        # The last epoch and the last step count separately.
        ({"every_epochs": 2, "every_steps": 4}, 4, [3, 4, 6, 8, 12, 12]),
    ],
)
def test_when_it_is_due(settings, epochs, steps):
    script = Script(*range(len(steps)))
    evaluation = TranslationEvaluation(script, SOURCES, TARGETS, **settings)
    history = run(evaluation, epochs)
    assert [one["step"] for one in evaluation.history] == steps
    assert [one["epoch"] for one in evaluation.history] == [(step + 2) // 3 for step in steps]
    # Epochs without an evaluation repeat the latest scores.
    for epoch, score in enumerate(history["val_chrf"], start=1):
        latest = sum(step <= 3 * epoch for step in steps) - 1
        assert score == pytest.approx(score_of(latest))
    assert set(history) == {"loss", "val_bleu", "val_chrf"}


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras has no steps_per_execution on torch"
)
def test_counts_every_step_of_an_execution():
    evaluation = TranslationEvaluation(
        Script(*range(4)), SOURCES, TARGETS, every_epochs=None, every_steps=4
    )
    run(evaluation, 4, model=small_model(steps_per_execution=3))
    # After 4, 8 and 12 steps, and after the first epoch.
    assert [one["step"] for one in evaluation.history] == [3, 6, 9, 12]


def test_counts_steps_rather_than_updates():
    evaluation = TranslationEvaluation(
        Script(*range(5)), SOURCES, TARGETS, every_epochs=None, every_steps=4
    )
    model = small_model(gradient_accumulation_steps=2)
    run(evaluation, 2, model=model)
    assert [one["step"] for one in evaluation.history] == [3, 4]
    run(evaluation, 2, model=model)
    assert [one["step"] for one in evaluation.history] == [8, 12]


def test_logs_of_steps_have_the_latest_scores():
    seen = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(logs.get("val_chrf"))
    )
    evaluation = TranslationEvaluation(
        Script(1, 3, 2), SOURCES, TARGETS, every_epochs=None, every_steps=2
    )
    run(evaluation, 2, record)
    expected = [None] + [score_of(count) for count in (1, 1, 3, 3, 2)]
    assert seen == [None] + [pytest.approx(score) for score in expected[1:]]


def test_early_stopping_stops_and_restores_the_best():
    weights = Weights()
    evaluation = TranslationEvaluation(Script(1, 3, 2, 2, 5), SOURCES, TARGETS)
    stop = keras.callbacks.EarlyStopping(
        "val_chrf", mode="max", patience=2, restore_best_weights=True
    )
    model = small_model()
    history = run(evaluation, 9, weights, stop, model=model)
    assert len(history["loss"]) == 4
    for found, best in zip(model.get_weights(), weights.epochs[1], strict=True):
        np.testing.assert_array_equal(found, best)


def test_early_stopping_counts_the_epochs_between_evaluations():
    # Evaluated after epochs 1, 3, 6, 9: the best is that of epoch 3.
    evaluation = TranslationEvaluation(Script(1, 3, 2, 2), SOURCES, TARGETS, every_epochs=3)
    stop = keras.callbacks.EarlyStopping("val_chrf", mode="max", patience=6)
    history = run(evaluation, 20, stop)
    assert len(history["loss"]) == 9
    # A patience of `every_epochs` is enough for training to continue while scores rise.
    evaluation = TranslationEvaluation(Script(1, 2, 3, 4), SOURCES, TARGETS, every_epochs=3)
    stop = keras.callbacks.EarlyStopping("val_chrf", mode="max", patience=3)
    assert len(run(evaluation, 10, stop)["loss"]) == 10


def test_model_checkpoint_keeps_the_best(tmp_path):
    # The epochs between evaluations must not replace the best either.
    weights = Weights()
    evaluation = TranslationEvaluation(Script(1, 4, 2), SOURCES, TARGETS, every_epochs=2)
    path = tmp_path / "best.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(
        path, "val_chrf", mode="max", save_best_only=True, save_weights_only=True
    )
    model = small_model()
    run(evaluation, 5, weights, checkpoint, model=model)
    model.load_weights(path)
    for found, best in zip(model.get_weights(), weights.epochs[1], strict=True):
        np.testing.assert_array_equal(found, best)


def test_csv_and_rate_see_the_scores(tmp_path):
    evaluation = TranslationEvaluation(Script(2, 1, 0), SOURCES, TARGETS, every_epochs=2)
    plateau = keras.callbacks.ReduceLROnPlateau("val_bleu", mode="max", factor=0.5, patience=2)
    model = small_model()
    history = run(
        evaluation, 4, keras.callbacks.CSVLogger(tmp_path / "log.csv"), plateau, model=model
    )
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_chrf"]) for row in rows] == pytest.approx(history["val_chrf"])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.005)


def test_each_fit_starts_over():
    evaluation = TranslationEvaluation(Script(1, 2, 3), SOURCES, TARGETS, every_epochs=9)
    model = small_model()
    run(evaluation, 2, model=model)
    run(evaluation, 2, model=model)
    assert [one["step"] for one in evaluation.history] == [9]
    assert evaluation.scores["val_chrf"] == pytest.approx(score_of(2))


def test_several_evaluations_and_other_metrics():
    metrics = {"bleu": sacrebleu.BLEU(tokenize="char"), "ter": sacrebleu.TER()}
    first = TranslationEvaluation(Script(1), SOURCES, TARGETS, metrics=metrics, prefix="val_fr_")
    second = TranslationEvaluation(Script(3), SOURCES, TARGETS, metrics=metrics, prefix="val_pt_")
    history = run(first, 1, second)
    names = {f"val_{language}_{metric}" for language in ("fr", "pt") for metric in metrics}
    assert set(history) == {"loss", *names}
    for prefix, right in (("val_fr_", 1), ("val_pt_", 3)):
        translations = [text if i < right else "?" for i, text in enumerate(TARGETS)]
        expected = sacrebleu.corpus_bleu(translations, [TARGETS], tokenize="char").score
        assert history[f"{prefix}bleu"] == [pytest.approx(expected)]
        assert history[f"{prefix}ter"] == [
            pytest.approx(sacrebleu.corpus_ter(translations, [TARGETS]).score)
        ]


def test_prints_scores_and_samples_on_request(capsys):
    evaluation = TranslationEvaluation(Script(2), SOURCES, REFERENCES, num_samples=2, verbose=1)
    run(evaluation, 1)
    printed = capsys.readouterr().out
    assert f"Epoch 1, step 3: val_bleu {evaluation.scores['val_bleu']:.2f}, val_chrf" in printed
    assert f"  {SOURCES[1]}\n    model:     {TARGETS[1]}\n    reference: {TARGETS[1]}" in printed
    assert SOURCES[2] not in printed
    run(TranslationEvaluation(Script(2), SOURCES, TARGETS), 1)
    assert not capsys.readouterr().out


def test_tensorboard_gets_scores_and_samples(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    evaluation = TranslationEvaluation(
        Script(1, 4), SOURCES, TARGETS, num_samples=2, log_dir=tmp_path / "logs"
    )
    run(evaluation, 2)
    assert len(glob.glob(str(tmp_path / "logs" / "*tfevents*"))) == 1
    found = accumulators.EventAccumulator(str(tmp_path / "logs"))
    found.Reload()
    tags = {"val_bleu", "val_chrf", "val_samples/0", "val_samples/1"}
    assert set(found.Tags()["tensors"]) == tags
    scores = [(one.step, one.tensor_proto.float_val[0]) for one in found.Tensors("val_chrf")]
    assert scores == [(3, pytest.approx(score_of(1))), (6, pytest.approx(score_of(4)))]
    texts = [one.tensor_proto.string_val[0].decode() for one in found.Tensors("val_samples/1")]
    assert "?" in texts[0] and TARGETS[1] in texts[1].split("reference")[0]


# --- Messages ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": []}, r"`sources` must contain at least one sentence. Received: sources=\[\]"),
        ({"sources": "a cat"}, "`sources` must be a list, not one string"),
        ({"sources": [*SOURCES[:4], " "]}, r"Received: sources\[4\]=' '"),
        ({"references": TARGETS[:4]}, "`references` must have as many items as `sources`.*4 and 5"),
        ({"references": "le chat"}, "`references` must be a list, not one string"),
        ({"references": [*TARGETS[:4], []]}, r"Received: references\[4\]=\[\]"),
        ({"references": [*TARGETS[:4], [None]]}, r"Received: references\[4\]=\[None\]"),
        (
            {"every_epochs": 0},
            "`every_epochs` must be a positive integer. Received: every_epochs=0",
        ),
        ({"every_steps": -1}, "`every_steps` must be a positive integer"),
        ({"every_epochs": None}, "`every_epochs` or `every_steps` must be given"),
        ({"metrics": {}}, "`metrics` must be a dict of at least one metric"),
        ({"metrics": {"bleu": "BLEU"}}, r"Received: metrics\['bleu'\]='BLEU'"),
        ({"num_samples": -1}, "`num_samples` must be an integer >= 0"),
        ({"beams": 4}, "`options` must be arguments of `translator.translate`.*'beams'"),
        ({"num_return": 2}, "`num_return` must not be given. Received: num_return=2"),
        ({"translator": None}, "`translator` must have the method `translate`"),
    ],
)
def test_messages(arguments, message):
    given = {"translator": Script(), "sources": SOURCES, "references": TARGETS, **arguments}
    with pytest.raises(ValueError, match=message):
        TranslationEvaluation(**given)


def test_rejects_the_translator_of_another_model(tokenizer):
    evaluation = TranslationEvaluation(make_translator(tokenizer), SOURCES, TARGETS)
    with pytest.raises(ValueError, match="`translator` must have the model being trained"):
        run(evaluation, 1)


def test_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match="need the package `sacrebleu`.*text"):
        TranslationEvaluation(Script(), SOURCES, TARGETS)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(ImportError, match="`log_dir` needs the package `tensorboard`"):
        TranslationEvaluation(Script(), SOURCES, TARGETS, log_dir=tmp_path)
