"""Freezing the lower layers of a model, and unfreezing them gradually."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.checks import check_integer, check_positive
from keras_transformer.training.lora import check_not_adapted
from keras_transformer.training.trainable_layers import make_trainable, needs_compiling

_STACKS = ("encoder", "decoder")
# The layers below the encoder and decoder stacks in the models of `kt.models`.
_BELOW = (
    "token_embedding",
    "source_embedding",
    "target_embedding",
    "segment_embedding",
    "positional_encoding",
    "embedding_norm",
    "patch_embedding",
    "class_token",
)


def freeze(model: keras.Model, up_to: int | None = None) -> None:
    """Freezes the embeddings and lowest blocks of a model and makes everything above trainable.

    Only Keras's `trainable` attribute of the layers is set. Compile the model afterwards.
    Embeddings tied to the output projection are frozen in both roles.

    Args:
        model: A model of `kt.models`, with or without a task head.
        up_to: Number of blocks of each stack to freeze, counted from the bottom: 0 freezes only the
            embeddings, None all blocks, so that only heads train. `unfreeze` unfreezes everything.

    Raises:
        ValueError: if `up_to` is out of range, the model has no stack named `encoder` or `decoder`,
            or it has adapters, which already froze it.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=3, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.training.freeze(lm, up_to=2)
        >>> len(lm.trainable_weights) == len(lm.get_layer("decoder").blocks[2].weights)
        True

    See Also:
        `kt.training.unfreeze`; `kt.training.GradualUnfreezing` unfreezes during training;
        `kt.training.enable_lora` trains adapters instead.

    Reference:
        Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification",
        section 3.3.
    """
    count = num_blocks(model)
    if (
        isinstance(up_to, bool)
        or not isinstance(up_to, int | None)
        or not 0 <= (up_to or 0) <= count
    ):
        raise ValueError(
            f"`up_to` must be an integer from 0 to {count}, the number of blocks. "
            f"Received: up_to={up_to!r}."
        )
    set_frozen(model, count if up_to is None else up_to)
    needs_compiling(model)


def unfreeze(model: keras.Model) -> None:
    """Makes all layers of a model trainable again. Compile the model afterwards.

    Args:
        model: A model without adapters.

    Raises:
        ValueError: if the model has adapters; `merge_lora` removes them.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=1, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.training.freeze(lm)
        >>> kt.training.unfreeze(lm)
        >>> len(lm.trainable_weights)
        18
    """
    check_not_adapted(model)
    make_trainable(model)
    needs_compiling(model)


class GradualUnfreezing(keras.callbacks.Callback):
    """Trains the head of a model first, then unfreezes its blocks one by one from the top.

    At first, only the layers above the stacks and the top `first_blocks` blocks train. Every
    `epochs_per_block` epochs, one more block of each stack is unfrozen, and after the lowest one
    the embeddings.

    Keras compiles the training step for a fixed set of trainable weights, and its optimizers hold
    slots for these. At each change, this callback therefore recompiles the step and replaces the
    optimizer with a new one with the same settings, the update count, and the slots of all weights
    that were already training. Frozen weights have no slots and stay bit-identical. Settings that
    are not in an optimizer's config, such as Keras's `exclude_from_weight_decay`, are lost;
    `DecoupledAdamW` keeps its own.

    After training, the model stays as it was in the last epoch; compile it again to train with
    other settings.

    Args:
        epochs_per_block: Number of epochs between unfreezing one block and the next.
        first_blocks: Number of blocks that train from the start.

    Raises:
        ValueError: if an argument is out of range; when training begins, if the model has no stacks
            or has adapters.

    Example:
        ```python
        model.compile(**kt.training.gpt1_finetuning_recipe(total_steps=6 * len(batches)))
        model.fit(batches, epochs=6, callbacks=[kt.training.GradualUnfreezing()])
        ```

    Reference:
        Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification",
        section 3.3, "Gradual unfreezing".
    """

    def __init__(self, epochs_per_block: int = 1, first_blocks: int = 0) -> None:
        super().__init__()
        check_positive(epochs_per_block=epochs_per_block)
        check_integer(0, first_blocks=first_blocks)
        self.epochs_per_block = epochs_per_block
        self.first_blocks = first_blocks
        self._state: int | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts over with only the top layers trainable."""
        self._state = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Unfreezes the blocks due in this epoch."""
        thawed = self.first_blocks + epoch // self.epochs_per_block
        # After the last block, one more step for the embeddings.
        state = min(thawed, num_blocks(self.model) + 1)
        if state != self._state:
            set_frozen(self.model, num_blocks(self.model) - state)
            if not self.model.trainable_weights:
                raise ValueError(
                    "`first_blocks` must be at least 1 for a model without trainable layers above "
                    f"its stacks. Received: first_blocks={self.first_blocks}."
                )
            _train_what_is_trainable(self.model)
            self._state = state


def stacks(model: keras.Model) -> list[Any]:
    """Returns the stacks of blocks of a model: its encoder, its decoder or both."""
    found = [
        layer for layer in model.layers if layer.name in _STACKS and getattr(layer, "blocks", None)
    ]
    if not found:
        raise ValueError(
            "`model` must have a layer named `encoder` or `decoder` with `blocks`. "
            f"Received: a model with layers {sorted(layer.name for layer in model.layers)}."
        )
    return found


def num_blocks(model: keras.Model) -> int:
    """Returns the number of blocks in the deepest stack of a model."""
    return max(len(stack.blocks) for stack in stacks(model))


def set_frozen(model: keras.Model, up_to: int) -> None:
    """Freezes the lowest blocks of each stack and the embeddings; -1 freezes nothing."""
    check_not_adapted(model)
    found = stacks(model)
    make_trainable(model)
    if up_to < 0:
        return
    for layer in model.layers:
        if layer.name in _BELOW:
            layer.trainable = False
    for stack in found:
        for block in stack.blocks[:up_to]:
            block.trainable = False
        # The final norm is frozen along with the last block.
        if up_to >= len(stack.blocks) and stack.final_norm is not None:
            stack.final_norm.trainable = False
        if stack.positional_encoding is not None:
            stack.positional_encoding.trainable = False


def _train_what_is_trainable(model: keras.Model) -> None:
    """Rebuilds optimizer and training step during `fit` for the weights now trainable."""
    old = model.optimizer
    new = type(old).from_config(old.get_config())
    new.build(model.trainable_variables)
    values = {variable.path: variable for variable in old.variables}
    for variable in new.variables:
        if variable.path in values:
            value = values[variable.path]
            # Copy scalars: saving the model still reads the old optimizer's learning rate, and on
            # JAX the first step of the new optimizer would delete an array that both share.
            variable.assign(value if value.shape else ops.copy(value))
    model.optimizer = new
    model.make_train_function(force=True)
