"""Building the optimizer before the first step is traced."""

import keras


def build_optimizer(model: keras.Model) -> None:
    """Creates the optimizer's variables, unless they exist or the model has no weights yet.

    On TensorFlow, a step that creates variables is traced a second time without creating them.
    Keras creates those of the optimizer in the first step, so building it earlier takes half the
    time to trace.

    Args:
        model: A model, compiled or not.
    """
    optimizer = model.optimizer
    if optimizer is not None and not optimizer.built and model.built:
        optimizer.build(model.trainable_variables)
