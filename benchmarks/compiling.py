"""A function as the backend at hand compiles it."""

from __future__ import annotations


def compiled(function, xla=True):
    """Compiles a function as the backend at hand does; TensorFlow with XLA or without."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=xla, autograph=False)
    import torch

    return torch.no_grad()(function)
