"""Training with a large vocabulary without materializing the logits of a whole batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_transformer.checks import check_positive
from keras_transformer.layers.embedding import TokenEmbedding
from keras_transformer.models.model_parts import find_parts
from keras_transformer.ops.chunked_crossentropy import CHUNK, chunked_crossentropy
from keras_transformer.ops.likelihood import (
    check_labels_and_logits,
    check_labels_in_vocabulary,
    real_tokens,
    token_weights,
)
from keras_transformer.ops.replicas import num_replicas
from keras_transformer.training.built_optimizer import build_optimizer
from keras_transformer.training.loss_reductions import reduce_sums
from keras_transformer.training.losses import MaskedCrossentropy
from keras_transformer.training.metrics import MaskedAccuracy, Perplexity

Tensor = Any


class _Projection(NamedTuple):
    """The projection of hidden states to logits: `matrix` (V, D), or (D, V) if `transposed`."""

    matrix: Tensor
    bias: Tensor | None
    transposed: bool
    trainable: bool
    dtype: str


class _Compiled:
    """Loss and metrics of the last `compile`; Keras would keep tracking the earlier ones."""

    def __init__(self, loss: Any, metrics: list):
        self.loss, self.metrics = loss, metrics


@keras.saving.register_keras_serializable(package="keras_transformer")
class ChunkedLossModel(keras.Model):
    """Trains a model without materializing its logits (B, T, V).

    Loss, accuracy, perplexity and gradients match those of the model itself up to rounding. But
    the vocabulary projection and the cross-entropy are computed for one chunk of positions at a
    time, and only what the gradient needs of a chunk's logits is kept. With a vocabulary of 40,000
    and thousands of positions per batch, the logits would take most of the memory.

    Compile and fit it instead of the model. Both share the same variables, so this trains the
    original model: use that to predict, decode and save.

    Args:
        model: A language model or translator created by `kt.models.gpt`, `kt.models.packed`,
            `kt.models.transformer` or `kt.pretrained.load`. Its layers `token_embedding` (or
            `source_embedding` and `target_embedding`), `encoder`, `decoder` and `logits` are found
            by name.
        chunk_size: Number of positions whose logits are computed at a time, on each of the devices
            that share a batch.
        **kwargs: Other arguments of `keras.Model`.

    Raises:
        ValueError: if `model` has other inputs or layers, or `chunk_size` is not positive; in
            `compile`, if the loss is not a `MaskedCrossentropy` with a scalar reduction, or the
            metrics are not `MaskedAccuracy` and `Perplexity` with the loss's `padding_id`.

    Example:
        >>> import numpy as np, keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> trainer = kt.training.ChunkedLossModel(lm, chunk_size=4)
        >>> trainer.compile(**kt.training.gpt1_pretraining_recipe(total_steps=10, warmup_steps=1))
        >>> ids = np.random.default_rng(0).integers(1, 100, (2, 7))
        >>> history = trainer.fit({"token_ids": ids[:, :-1]}, ids[:, 1:], verbose=0)
        >>> sorted(history.history)
        ['loss', 'masked_accuracy', 'perplexity']

    Reference:
        Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary Language Models", whose kernel
        keeps the logits in GPU registers; here they are chunks of ordinary matrix products.
    """

    def __init__(self, model: keras.Model, chunk_size: int = CHUNK, **kwargs: Any):
        check_positive(chunk_size=chunk_size)
        super().__init__(**kwargs)
        self.model = model
        self.chunk_size = chunk_size
        self._projection_layer, self._hidden_model = _take_apart(model)
        self._compiled = _Compiled(None, [])

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Any = None, **kwargs):
        """Configures training, as `keras.Model.compile` does.

        Args:
            optimizer: Any Keras optimizer.
            loss: A `MaskedCrossentropy`.
            metrics: None, or a list of `MaskedAccuracy` and `Perplexity`.
            **kwargs: Other arguments of `keras.Model.compile`.
        """
        _check_loss_and_metrics(loss, metrics, kwargs)
        # Keras would call the loss and metrics with logits.
        super().compile(optimizer=optimizer, **kwargs)
        self._compiled = _Compiled(loss, list(metrics or ()))

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """Computes hidden states; `compute_loss` computes the logits.

        Args:
            inputs: The model's inputs.
            training: Whether dropout is active.

        Returns:
            (B, T, D), the hidden states before the vocabulary projection.
        """
        return self._hidden_model(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Computes the loss in chunks and updates the metrics.

        Args:
            x: Not used.
            y: (B, T) integer labels.
            y_pred: (B, T, D) hidden states.
            sample_weight: None, (B,) or (B, T).
            training: Whether gradients are needed.

        Returns:
            float32 scalar.
        """
        loss, metrics = self._compiled.loss, self._compiled.metrics
        y, hidden = ops.convert_to_tensor(y), ops.convert_to_tensor(y_pred)
        check_labels_and_logits(y, hidden)
        labels = ops.where(real_tokens(y, loss.padding_id), y, ops.zeros_like(y))
        weights = token_weights(y, loss.padding_id, sample_weight)
        real = token_weights(y, loss.padding_id)  # like Keras, no sample weights for `metrics`
        projection = self._projection()
        if not projection.transposed:
            hidden = self._projection_layer.before_projection(hidden)
        vocabulary_size = projection.matrix.shape[1 if projection.transposed else 0]
        check_labels_in_vocabulary(y, vocabulary_size, loss.padding_id)
        label_weight, mean_weight = loss.target_weights(vocabulary_size)
        sums = chunked_crossentropy(
            ops.cast(ops.reshape(hidden, (-1, hidden.shape[-1])), projection.dtype),
            projection.matrix,
            projection.bias,
            ops.reshape(labels, (-1,)),
            ops.reshape(weights, (-1,)),
            ops.reshape(real, (-1,)),
            label_weight,
            mean_weight,
            chunk_size=self.chunk_size,
            transposed=projection.transposed,
            training=training,
            matrix_trainable=projection.trainable,
            count_correct=any(isinstance(metric, MaskedAccuracy) for metric in metrics),
        )
        for metric in metrics:
            accuracy = isinstance(metric, MaskedAccuracy)
            total = sums.correct if accuracy else sums.negative_log_likelihood
            metric.add_sums(total, ops.sum(real))
        # Every replica of `tf.distribute` computes all of these, and their gradients are summed.
        additional = [ops.cast(ops.sum(value), "float32") / num_replicas() for value in self.losses]
        return sum(additional, reduce_sums(loss.reduction, sums.loss, ops.sum(weights)))

    @property
    def metrics(self) -> list:
        """The mean loss and the metrics passed to `compile`."""
        return [*super().metrics, *self._compiled.metrics]

    def get_compile_config(self) -> dict[str, Any]:
        """Returns the arguments of `compile`, or {} if it has not been called."""
        if not self.compiled:
            return {}
        given = {"loss": self._compiled.loss, "metrics": self._compiled.metrics}
        return {**super().get_compile_config(), **keras.saving.serialize_keras_object(given)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with the arguments that `get_compile_config` returned."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        build_optimizer(self)

    def predict(self, *arguments: Any, **keywords: Any) -> Any:
        """Returns the wrapped model's predictions (logits)."""
        return self.model.predict(*arguments, **keywords)

    def predict_on_batch(self, x: Any) -> Any:
        """Returns the wrapped model's predictions (logits) for one batch."""
        return self.model.predict_on_batch(x)

    def _projection(self):
        layer = self._projection_layer
        transposed = not isinstance(layer, TokenEmbedding)  # else a dense layer
        matrix = layer.kernel if transposed else layer.embeddings
        bias = None if transposed and not layer.use_bias else layer.bias
        # With adapters, the matrix is a tensor, not a variable.
        trainable = any(
            getattr(weight, "trainable", True) for weight in (matrix, bias) if weight is not None
        )
        return _Projection(matrix, bias, transposed, trainable, layer.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        return {**super().get_config(), "model": model, "chunk_size": self.chunk_size}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ChunkedLossModel:
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects)
        return cls(**{**config, "model": model})


def _take_apart(model):
    """Returns the layer that computes the logits, and a model of the layers before it."""
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    inputs = {tensor.name: tensor for tensor in getattr(model, "inputs", ())}
    parts = find_parts(layers)
    embedding, segments = parts.target_embedding, layers.get("segments")  # of packed rows
    expected = {"token_ids"} if parts.encoder is None else {"source_ids", "target_ids"}
    expected |= {"segment_ids"} if segments else set()
    if parts.decoder is None or embedding is None or inputs.keys() != expected:
        raise ValueError(
            "`model` must be a language model with the input `token_ids` (and `segment_ids` if "
            "packed) and the layers `token_embedding` and `decoder`, or a translator with the "
            "inputs `source_ids` and `target_ids` and the layers `target_embedding` and `decoder`. "
            f"Received: a model with inputs {sorted(inputs)} and layers {sorted(layers)}."
        )
    if parts.encoder is None:
        masks = segments(inputs["segment_ids"]) if segments else {}
        hidden = parts.decoder(embedding(inputs["token_ids"]), **masks)
    else:
        encoded = parts.encoder(parts.source_embedding(inputs["source_ids"]))
        hidden = parts.decoder(embedding(inputs["target_ids"]), encoded)
    return parts.projection or embedding, keras.Model(inputs, hidden)


def _check_loss_and_metrics(loss, metrics, others):
    if not isinstance(loss, MaskedCrossentropy) or loss.reduction in ("none", None):
        raise ValueError(
            "`loss` must be a MaskedCrossentropy with a scalar reduction. "
            f"Received: loss={loss!r}, reduction={getattr(loss, 'reduction', None)!r}."
        )
    for name in ("loss_weights", "weighted_metrics"):
        if others.get(name):
            raise ValueError(f"`{name}` is not supported. Received: {name}={others[name]!r}.")
    for metric in metrics or ():
        if not isinstance(metric, (MaskedAccuracy, Perplexity)):
            raise ValueError(
                "`metrics` must be MaskedAccuracy or Perplexity: others need the full logits, "
                f"which are never computed. Received: metrics with {metric!r}."
            )
        if metric.padding_id != loss.padding_id:
            raise ValueError(
                "`metrics` must have the same `padding_id` as the loss. Received: "
                f"{metric.name} with padding_id={metric.padding_id}, the loss with "
                f"padding_id={loss.padding_id}."
            )
