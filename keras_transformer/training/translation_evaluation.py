"""BLEU and chrF of a translator during training."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from keras_transformer.checks import check, check_integer, check_positive, given
from keras_transformer.training.corpus_scores import (
    check_references,
    corpus_scores,
    make_metrics,
)
from keras_transformer.training.event_file import EventFile


class TranslationSample(NamedTuple):
    """A sentence of the validation set with its latest translation.

    Attributes:
        source: The sentence.
        translation: Its translation by the model.
        references: List of its reference translations.

    Example:
        >>> import keras_transformer as kt
        >>> kt.training.TranslationSample("Thanks.", "Merci.", ["Merci.", "Merci bien."]).source
        'Thanks.'
    """

    source: str
    translation: str
    references: list[str]


class TranslationEvaluation(keras.callbacks.Callback):
    """Translates a validation set during training and reports BLEU and chrF.

    The scores are added to the `logs` of Keras's callbacks, as `val_bleu` and `val_chrf`, so that
    callbacks listed after this one can use them: `EarlyStopping(monitor="val_bleu", mode="max")`,
    `ModelCheckpoint`, `ReduceLROnPlateau`, `CSVLogger` and `TensorBoard`, and the history that
    `fit` returns. Keras needs `mode="max"`, because it cannot know that larger is better.

    The set is translated after the first epoch of each `fit`, after every epoch whose number,
    counted from 1, is divisible by `every_epochs`, and after every `every_steps` training steps. In
    between, `logs` repeat the latest scores, because without a score `ModelCheckpoint` would save
    every epoch as the best. `EarlyStopping` thus counts epochs, not evaluations: its `patience`
    should be at least `every_epochs`.

    The model is evaluated with its current weights. To evaluate averages, list
    `keras.callbacks.SwapEMAWeights(swap_on_epoch=True)` before this callback, or call `evaluate`
    after `fit`, when `kt.training.CheckpointAveraging` has averaged the weights.

    Args:
        translator: The `kt.Translator` of the model to be trained, or any other object with the
            same method `translate`.
        sources: N sentences to translate.
        references: N reference translations, or N lists of them, as from
            `kt.datasets.tatoeba.references`.
        every_epochs: Number of epochs between evaluations; None to count only steps.
        every_steps: Number of training steps between evaluations, counted from the optimizer's
            first step; None to count only epochs.
        metrics: Metrics of sacrebleu by name, such as `{"bleu": sacrebleu.BLEU(tokenize="char"),
            "ter": sacrebleu.TER()}`; None for "bleu" and "chrf" with sacrebleu's defaults, which
            suit languages that separate words by spaces.
        prefix: Prefix of the names in `logs`. Use different ones for several evaluations in the
            same run, for example one per language.
        num_samples: Number of sentences to keep in `samples` and show; the first ones are taken.
        log_dir: Folder in which TensorBoard finds the scores and the samples, by training step.
            Needs the package `tensorboard`. None writes nothing.
        verbose: 1 prints the scores and samples of each evaluation, 2 also shows a progress bar.
        **options: Further arguments of `translator.translate`: `num_beams`, `batch_size`,
            `max_new_tokens`, and `source_language` and `target_language` of a multilingual model.

    Attributes:
        scores: The latest scores by name; empty before the first evaluation.
        samples: List of `TranslationSample` from the latest evaluation.
        translations: List of the N latest translations.
        history: List of all evaluations since training began, each a dict of its scores, the
            `epoch` counted from 1, and the `step`.

    Raises:
        ValueError: If there are no sources, their number differs from that of the references, an
            option is unknown, or a number is out of range; when training begins, if the
            translator's model is not the one being trained.
        ImportError: If sacrebleu is not installed, or tensorboard with `log_dir`.

    Example:
        >>> import keras_transformer as kt
        >>> sources, targets = ["a cat", "a dog"], ["un chat", "un chien"]
        >>> tokenizer = kt.data.train_tokenizer(sources + targets, 24, model_type="bpe")
        >>> model = kt.models.transformer(
        ...     24, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> model.compile(**kt.training.transformer_recipe(hidden_dim=8), jit_compile=False)
        >>> batches = kt.data.TranslationBatches(tokenizer(sources), tokenizer(targets))
        >>> evaluation = kt.training.TranslationEvaluation(
        ...     kt.Translator(model, tokenizer), sources, targets, max_new_tokens=8)
        >>> history = model.fit(batches, verbose=0, callbacks=[evaluation])
        >>> sorted(history.history)
        ['loss', 'masked_accuracy', 'perplexity', 'val_bleu', 'val_chrf']

    Reference:
        Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation";
        Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation"; Post 2018, "A
        Call for Clarity in Reporting BLEU Scores" (sacrebleu).
    """

    def __init__(
        self,
        translator: Any,
        sources: Sequence[str],
        references: Sequence[str | Sequence[str]],
        every_epochs: int | None = 1,
        every_steps: int | None = None,
        *,
        metrics: Mapping[str, Any] | None = None,
        prefix: str = "val_",
        num_samples: int = 3,
        log_dir: str | os.PathLike | None = None,
        verbose: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        check_positive(**given(every_epochs=every_epochs, every_steps=every_steps))
        if every_epochs is None and every_steps is None:
            raise ValueError(
                "`every_epochs` or `every_steps` must be given. "
                "Received: every_epochs=None, every_steps=None."
            )
        check_integer(0, num_samples=num_samples, verbose=verbose)
        self.sources = _check_sources(sources)
        self.references = check_references(self.sources, references)
        _check_options(translator, options)
        self.translator = translator
        self.every_epochs = every_epochs
        self.every_steps = every_steps
        self.metrics = make_metrics(metrics)
        self.prefix = prefix
        self.num_samples = num_samples
        self.verbose = verbose
        self.options = options
        self.scores: dict[str, float] = {}
        self.samples: list[TranslationSample] = []
        self.translations: list[str] = []
        self.history: list[dict[str, float]] = []
        self._event_file = None if log_dir is None else EventFile(log_dir)
        self._epoch = self._step = 0
        self._last_batch = -1

    def evaluate(self) -> dict[str, float]:
        """Translates the set with the current weights, and sets all attributes except `history`.

        Returns:
            The scores by name, with the prefix.
        """
        self.translations = self.translator.translate(
            self.sources, verbose=int(self.verbose > 1), **self.options
        )
        rows = zip(self.sources, self.translations, self.references, strict=True)
        self.samples = [TranslationSample(*row) for row in rows][: self.num_samples]
        scores = corpus_scores(self.metrics, self.translations, self.references)
        self.scores = {f"{self.prefix}{name}": score for name, score in scores.items()}
        return self.scores

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts over, at the training step of the optimizer."""
        model = self.model
        _check_same_model(self.translator, model)
        self.scores, self.history = {}, []
        self._step = _steps_taken(model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Records the epoch."""
        self._epoch, self._last_batch = epoch + 1, -1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Evaluates if `every_steps` is due, and adds the latest scores to the logs."""
        before = self._step
        # With steps_per_execution, Keras calls this once per group of steps, with the last index.
        self._step += batch - self._last_batch
        self._last_batch = batch
        if self.every_steps and before // self.every_steps < self._step // self.every_steps:
            self._run()
        if logs is not None:
            logs.update(self.scores)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Evaluates if `every_epochs` is due, and adds the latest scores to the logs."""
        # Even if the last step was evaluated: callbacks such as SwapEMAWeights change the weights.
        is_due = self.every_epochs and self._epoch % self.every_epochs == 0
        if is_due or not self.scores:
            self._run()
        if logs is not None:
            logs.update(self.scores)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the file for TensorBoard."""
        if self._event_file is not None:
            self._event_file.close()

    def _run(self) -> None:
        # On JAX, where training keeps its state separately, reading `self.model` syncs the model.
        _check_same_model(self.translator, self.model)
        self.evaluate()
        self.history.append({"epoch": self._epoch, "step": self._step, **self.scores})
        if self.verbose:
            _write(self._report())
        if self._event_file is not None:
            for name, score in self.scores.items():
                self._event_file.add_scalar(name, score, self._step)
            for index, sample in enumerate(self.samples):
                tag = f"{self.prefix}samples/{index}"
                self._event_file.add_text(tag, _markdown(sample), self._step)
            self._event_file.flush()

    def _report(self) -> str:
        scores = ", ".join(f"{name} {score:.2f}" for name, score in self.scores.items())
        lines = [f"\nEpoch {self._epoch}, step {self._step}: {scores}"]
        for sample in self.samples:
            lines += [f"  {sample.source}", f"    model:     {sample.translation}"]
            lines += [f"    reference: {text}" for text in sample.references[:1]]
        return "\n".join(lines)


def _check_sources(sources: Sequence[str]) -> list[str]:
    check(not isinstance(sources, str), "be a list, not one string", "sources", sources)
    sources = list(sources)
    check(bool(sources), "contain at least one sentence", "sources", sources)
    for index, text in enumerate(sources):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(
                f"`sources` must contain non-blank strings. Received: sources[{index}]={text!r}."
            )
    return sources


def _check_options(translator: Any, options: Mapping[str, Any]) -> None:
    """Raises before training, rather than after an epoch, if `translate` would reject options."""
    if not callable(getattr(translator, "translate", None)):
        raise ValueError(
            f"`translator` must have the method `translate`. Received: translator={translator!r}."
        )
    check("num_return" not in options, "not be given", "num_return", options.get("num_return"))
    try:
        inspect.signature(translator.translate).bind([], verbose=0, **options)
    except TypeError as error:
        raise ValueError(
            "`options` must be arguments of `translator.translate`. "
            f"Received: options={dict(options)} ({error})."
        ) from error
    if hasattr(translator, "encode_sources"):
        names = ("source_language", "target_language")
        languages = {name: options[name] for name in names if name in options}
        translator.encode_sources(["a"], **languages)


def _check_same_model(translator: Any, model: keras.Model) -> None:
    """Raises unless the translator's model shares weights with the one being trained.

    The trained model may contain the translator's, as `kt.training.ChunkedLossModel` does.
    """
    own = getattr(translator, "model", None)
    if own is None or own is model:
        return
    trained = {id(weight) for weight in model.weights}
    if not any(id(weight) in trained for weight in own.weights):
        raise ValueError(
            "`translator` must have the model being trained, or one that shares its weights. "
            f"Received: a translator with model {own.name!r}, training {model.name!r}."
        )


def _steps_taken(optimizer: Any) -> int:
    """Returns the number of steps that an optimizer has taken, including those before a resume."""
    updates = int(keras.ops.convert_to_numpy(optimizer.iterations))
    return updates * (getattr(optimizer, "gradient_accumulation_steps", None) or 1)


def _markdown(sample: TranslationSample) -> str:
    rows = [("source", sample.source), ("model", sample.translation)]
    rows += [("reference", text) for text in sample.references]
    # Indentation marks text that is not to be read as Markdown.
    return "\n".join(f"    {name + ':':<10} {text}" for name, text in rows)


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
