"""Freezing the lower layers of a model, and thawing them one after the other."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_transformer.training.lora import check_not_adapted
from keras_transformer.training.parts import make_trainable, needs_compiling

_STACKS = ("encoder", "decoder")
# What stands between the inputs and the stacks in the models of `kt.models`.
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
    """Freezes the embeddings and the lowest blocks of a model; everything above them trains.

    It sets Keras's `trainable` of the layers, no more. Compile the model after it. Embeddings that
    also make the logits are frozen as logits too.

    Args:
        model: a model of `kt.models`, with or without a task's head.
        up_to: how many blocks of each stack to freeze, from the bottom: 0 for the embeddings alone,
            None for all blocks, so that only heads train. `unfreeze` freezes none.

    Raises:
        ValueError: `up_to` is not such a number, the model has no stack named `encoder` or
            `decoder`, or it has adapters, which froze it already.

    Example:
        >>> import keras_transformer as kt
        >>> lm = kt.models.gpt(
        ...     vocabulary_size=100, num_layers=3, num_heads=2, hidden_dim=16, intermediate_dim=32)
        >>> kt.training.freeze(lm, up_to=2)
        >>> len(lm.trainable_weights) == len(lm.get_layer("decoder").blocks[2].weights)
        True

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
    """Makes all layers of a model trainable again. Compile the model after it.

    Args:
        model: a model without adapters.

    Raises:
        ValueError: the model has adapters; `merge_lora` takes them off.

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
    """Trains the head of a model first, then one block more after another from the top.

    At first only what stands above the stacks trains, and the top `first_blocks` blocks. After
    every `epochs_per_block` epochs one more block of each stack does, and after the lowest one the
    embeddings.

    Keras compiles a step for the weights that are trainable, and its optimizers keep slots for
    these: at every change this callback gives the model a new optimizer of the same settings, which
    takes over the number of updates and the slots of all weights that trained before, and has the
    step compiled anew. Frozen weights have no slots, and stay as they are to the bit. Settings that
    are not in an optimizer's config, such as `exclude_from_weight_decay` of Keras, are lost on the
    way; `DecoupledAdamW` keeps its own.

    The model is left as the last epoch had it; compile it to train it on otherwise.

    Args:
        epochs_per_block: number of epochs until the next block.
        first_blocks: number of blocks that train from the start.

    Raises:
        ValueError: an argument is out of its range; when training begins, a model without stacks,
            or with adapters.

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
        _check_count("epochs_per_block", epochs_per_block, 1)
        _check_count("first_blocks", first_blocks, 0)
        self.epochs_per_block = epochs_per_block
        self.first_blocks = first_blocks
        self._state: int | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts from the top again."""
        self._state = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Thaws what is due."""
        thawed = self.first_blocks + epoch // self.epochs_per_block
        # One more than there are blocks: the embeddings.
        state = min(thawed, num_blocks(self.model) + 1)
        if state != self._state:
            set_frozen(self.model, num_blocks(self.model) - state)
            if not self.model.trainable_weights:
                raise ValueError(
                    "`first_blocks` must be at least 1 for a model with nothing to train above its "
                    f"stacks. Received: first_blocks={self.first_blocks}."
                )
            _train_what_is_trainable(self.model)
            self._state = state


def stacks(model: keras.Model) -> list[Any]:
    """The stacks of blocks of a model: its encoder, its decoder or both."""
    found = [
        layer for layer in model.layers if layer.name in _STACKS and getattr(layer, "blocks", None)
    ]
    if not found:
        raise ValueError(
            "`model` must have a layer named `encoder` or `decoder` that has `blocks`. "
            f"Received: layers {sorted(layer.name for layer in model.layers)}."
        )
    return found


def num_blocks(model: keras.Model) -> int:
    """The number of blocks of the deepest stack of a model."""
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
        # The norm after the last block goes with it.
        if up_to >= len(stack.blocks) and stack.final_norm is not None:
            stack.final_norm.trainable = False
        if stack.positional_encoding is not None:
            stack.positional_encoding.trainable = False


def _check_count(name: str, value: Any, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"`{name}` must be an integer >= {minimum}. Received: {name}={value!r}")


def _train_what_is_trainable(model: keras.Model) -> None:
    """Lets a model in the midst of `fit` train the weights that are trainable now."""
    old = model.optimizer
    new = type(old).from_config(old.get_config())
    new.build(model.trainable_variables)
    values = {variable.path: variable for variable in old.variables}
    for variable in new.variables:
        if variable.path in values:
            value = values[variable.path]
            # Keras saves the settings of the old optimizer, its learning rate too, which JAX would
            # delete with the first step of the new one if they were the same array.
            variable.assign(value if value.shape else ops.copy(value))
    model.optimizer = new
    model.make_train_function(force=True)
