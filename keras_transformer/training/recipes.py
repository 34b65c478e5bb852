"""The papers' training settings, ready for ``model.compile(**recipe)``."""

from typing import Any

import keras

from keras_transformer.checks import check_rate
from keras_transformer.training.decoupled_adamw import DecoupledAdamW
from keras_transformer.training.losses import MaskedCrossentropy
from keras_transformer.training.metrics import MaskedAccuracy, Perplexity
from keras_transformer.training.optimizer_arguments import optimizer_arguments
from keras_transformer.training.schedules import (
    NoamSchedule,
    WarmupCosineSchedule,
    WarmupLinearSchedule,
)


def transformer_recipe(
    hidden_dim: int,
    warmup_steps: int = 4000,
    label_smoothing: float = 0.1,
    learning_rate: Any = None,
    scale: float = 1.0,
    smoothing_spread: str = "all_classes",
    padding_id: int | None = 0,
    gradient_accumulation_steps: int | None = None,
    clip_norm: float | None = None,
) -> dict[str, Any]:
    """Returns the optimizer, loss and metrics of the original Transformer.

    Adam with beta 0.9 and 0.98, epsilon 1e-9, no gradient clipping, and
    ``learning_rate = scale * hidden_dim^-0.5 * min(update^-0.5, update * warmup_steps^-1.5)``;
    cross-entropy over the non-padding tokens with label smoothing 0.1. The paper does not say which
    classes share the smoothing: all of them by default, as in fairseq and Keras;
    ``smoothing_spread`` selects the other convention, that of tensor2tensor.

    For long runs, pass `kt.training.StopOnNonFinite` and `kt.training.SaveTraining` to `fit`.

    Args:
        hidden_dim: The model's hidden size (d_model).
        warmup_steps: Number of updates until the learning rate peaks.
        label_smoothing: Probability mass spread over the classes, in [0, 1).
        learning_rate: None for the schedule above, or a float or a schedule to replace it, with
            ``warmup_steps`` and ``scale`` ignored.
        scale: Factor by which to multiply the schedule.
        smoothing_spread: ``"all_classes"`` or ``"wrong_classes"``.
        padding_id: The label to ignore; None to count every label.
        gradient_accumulation_steps: Batches whose gradients are averaged for each update; None or 1
            updates after every batch. The schedule counts updates.
        clip_norm: Maximum global norm of the gradients, after accumulation; None for no clipping,
            as in the paper.

    Returns:
        A dict with exactly the keys ``optimizer``, ``loss`` and ``metrics``, with new objects.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import keras, keras_transformer as kt
        >>> model = keras.Sequential([keras.layers.Embedding(11, 8), keras.layers.Dense(11)])
        >>> model.compile(**kt.training.transformer_recipe(hidden_dim=8, warmup_steps=100))

    See Also:
        `kt.training.NoamSchedule` and `kt.training.MaskedCrossentropy`, its parts;
        `kt.training.gpt1_pretraining_recipe` for language models;
        `kt.training.bert_finetuning_recipe` for fine-tuning.

    Reference:
        Vaswani et al. 2017, "Attention Is All You Need", sections 5.3 and 5.4.
    """
    if learning_rate is None:
        learning_rate = NoamSchedule(hidden_dim, warmup_steps=warmup_steps, scale=scale)
    optimizer = keras.optimizers.Adam(
        beta_1=0.9,
        beta_2=0.98,
        epsilon=1e-9,
        **optimizer_arguments(learning_rate, gradient_accumulation_steps, clip_norm),
    )
    loss = MaskedCrossentropy(
        label_smoothing=label_smoothing, smoothing_spread=smoothing_spread, padding_id=padding_id
    )
    metrics = [MaskedAccuracy(padding_id=padding_id), Perplexity(padding_id=padding_id)]
    return {"optimizer": optimizer, "loss": loss, "metrics": metrics}


def gpt1_pretraining_recipe(
    total_steps: int,
    warmup_steps: int = 2000,
    peak_learning_rate: float = 2.5e-4,
    weight_decay: float = 0.01,
    padding_id: int | None = 0,
    gradient_accumulation_steps: int | None = None,
    clip_norm: float | None = None,
) -> dict[str, Any]:
    """Returns the optimizer, loss and metrics of GPT-1's pretraining.

    Adam with a learning rate that rises linearly over ``warmup_steps`` updates and falls to 0 along
    a cosine until ``total_steps``; decoupled weight decay on all weights except biases and
    layer-norm gains; the loss is the plain negative log-likelihood, -log P(u_i | u_1..u_{i-1}).

    Adam's beta 0.9 and 0.999 and epsilon 1e-8, which the paper does not give, are those of the code
    that its authors published for fine-tuning.

    For long runs, pass `kt.training.StopOnNonFinite` and `kt.training.SaveTraining` to `fit`.

    Args:
        total_steps: Total number of updates; larger than ``warmup_steps``.
        warmup_steps: Number of updates until the learning rate peaks.
        peak_learning_rate: The highest learning rate.
        weight_decay: Decay per step, multiplied by the learning rate.
        padding_id: The label to ignore; None to count every label, as in streams of packed text
            whose vocabulary has a word with id 0.
        gradient_accumulation_steps: Batches whose gradients are averaged for each update; None or 1
            updates after every batch. All numbers of steps here count updates.
        clip_norm: Maximum global norm of the gradients, after accumulation; None for no clipping,
            since the paper mentions none.

    Returns:
        A dict with exactly the keys ``optimizer``, ``loss`` and ``metrics``, with new objects.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> sorted(kt.training.gpt1_pretraining_recipe(total_steps=10000))
        ['loss', 'metrics', 'optimizer']

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 4.1.
    """
    schedule = WarmupCosineSchedule(peak_learning_rate, warmup_steps, total_steps)
    optimizer = DecoupledAdamW(
        weight_decay=weight_decay,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        **optimizer_arguments(schedule, gradient_accumulation_steps, clip_norm),
    )
    loss = MaskedCrossentropy(padding_id=padding_id)
    metrics = [MaskedAccuracy(padding_id=padding_id), Perplexity(padding_id=padding_id)]
    return {"optimizer": optimizer, "loss": loss, "metrics": metrics}


def gpt1_finetuning_recipe(
    total_steps: int,
    warmup_fraction: float = 0.002,
    peak_learning_rate: float = 6.25e-5,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    gradient_accumulation_steps: int | None = None,
) -> dict[str, Any]:
    """Returns the optimizer, loss and metrics of GPT-1's fine-tuning.

    For the models of `kt.models.classifier`, `entailment`, `similarity` and `multiple_choice`,
    which add the auxiliary language-model loss (weight 0.5) themselves. Adam with a learning rate
    that rises linearly over the first 0.2% of the updates and then falls linearly to 0; decoupled
    weight decay on all weights except biases and layer-norm gains. The paper trains for 3 epochs
    with batches of 32: ``total_steps = 3 * len(batches)``.

    Beta 0.9 and 0.999, epsilon 1e-8, the weight decay and the clipping of the global gradient norm
    to 1 are those of the code that its authors published. A small model, or one adapted by
    `enable_lora`, needs a higher peak.

    Args:
        total_steps: Total number of updates.
        warmup_fraction: Fraction of the updates until the learning rate peaks, in [0, 1).
        peak_learning_rate: The highest learning rate.
        weight_decay: Decay per step, multiplied by the learning rate.
        clip_norm: Maximum global norm of the gradients, after accumulation; None for no clipping.
        gradient_accumulation_steps: Batches whose gradients are averaged for each update; None or 1
            updates after every batch. ``total_steps`` counts updates: with accumulation, it is
            ``3 * len(batches) // gradient_accumulation_steps``.

    Returns:
        A dict with exactly the keys ``optimizer``, ``loss`` and ``metrics``, with new objects.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import keras_transformer as kt
        >>> sorted(kt.training.gpt1_finetuning_recipe(total_steps=942))
        ['loss', 'metrics', 'optimizer']

    Reference:
        Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training",
        section 4.1, "Fine-tuning details".
    """
    check_rate(warmup_fraction=warmup_fraction)
    warmup_steps = round(warmup_fraction * total_steps)
    schedule = WarmupLinearSchedule(peak_learning_rate, warmup_steps, total_steps)
    optimizer = DecoupledAdamW(
        weight_decay=weight_decay,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        **optimizer_arguments(schedule, gradient_accumulation_steps, clip_norm),
    )
    # These models return probabilities, not logits.
    loss = keras.losses.SparseCategoricalCrossentropy()
    metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    return {"optimizer": optimizer, "loss": loss, "metrics": metrics}


def bert_finetuning_recipe(
    total_steps: int,
    warmup_fraction: float = 0.1,
    peak_learning_rate: float = 5e-5,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    gradient_accumulation_steps: int | None = None,
) -> dict[str, Any]:
    """Returns the optimizer, loss and metrics of BERT's fine-tuning.

    For `kt.models.classifier` on a `kt.models.bert`; replace the loss and the metrics for other
    heads. Adam with a learning rate that rises linearly over the first 10% of the updates and then
    falls linearly to 0; decoupled weight decay on all weights except biases and layer-norm gains.
    The paper tries batches of 16 and 32, peaks of 2e-5, 3e-5 and 5e-5, and 2 to 4 epochs:
    ``total_steps = epochs * len(batches)``. The other values are those of the code that its
    authors published. A small model, or one adapted by `enable_lora`, needs a higher peak.

    Args:
        total_steps: Total number of updates.
        warmup_fraction: Fraction of the updates until the learning rate peaks, in [0, 1).
        peak_learning_rate: The highest learning rate.
        weight_decay: Decay per step, multiplied by the learning rate.
        clip_norm: Maximum global norm of the gradients, after accumulation; None for no clipping.
        gradient_accumulation_steps: Batches whose gradients are averaged for each update, see
            `gpt1_finetuning_recipe`.

    Returns:
        A dict with exactly the keys ``optimizer``, ``loss`` and ``metrics``, with new objects.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import keras, keras_transformer as kt
        >>> recipe = kt.training.bert_finetuning_recipe(total_steps=942)
        >>> round(1e6 * float(recipe["optimizer"].learning_rate), 2)  # after the first of 94 steps
        0.53
        >>> regression = {**recipe, "loss": "mean_squared_error", "metrics": []}

    Reference:
        Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
        Understanding", appendix A.3.
    """
    return gpt1_finetuning_recipe(
        total_steps,
        warmup_fraction,
        peak_learning_rate,
        weight_decay,
        clip_norm,
        gradient_accumulation_steps,
    )
