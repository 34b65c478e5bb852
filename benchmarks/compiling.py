"""Compilation of a function on the current backend."""

from __future__ import annotations


def compiled(function, xla=True):
    """Compiles a function the way the current backend does; on TensorFlow, with or without XLA."""
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
