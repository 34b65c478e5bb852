"""What replicas of `tf.distribute` must add up, for a mean to be that of the whole batch.

On JAX a tensor is the whole batch, wherever its parts are, and there is nothing to do.
"""

from typing import Any

from keras import backend, ops


def num_replicas() -> int:
    """Returns how many replicas work on one batch, this code being run by one of them; else 1."""
    if backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(value: Any) -> Any:
    """Returns the sum of a tensor over all replicas, which has no gradient.

    Args:
        value: a tensor of the same shape on each replica.

    Returns:
        A tensor of that shape; the tensor itself where there is one replica.
    """
    if num_replicas() == 1:
        return value
    import tensorflow as tf

    value = ops.stop_gradient(value)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
