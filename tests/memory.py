"""What a process that builds many models has to let go of."""

import gc

import keras


def forget_written_gradients():
    """Lets go of the graphs of a finished test.

    TensorFlow registers the gradient of each `tf.custom_gradient` in a graph for good, and Keras
    writes one into every training step: after some hundred models, gigabytes.
    """
    if keras.backend.backend() != "tensorflow":
        return
    from tensorflow.python.framework import ops

    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]


def forget_programs():
    """Lets JAX unload its compiled programs, now and then.

    Each takes some mappings of memory, of which Linux gives a process 65,530: one that runs several
    folders of tests would crash in the midst of a compilation.
    """
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()
        gc.collect()
