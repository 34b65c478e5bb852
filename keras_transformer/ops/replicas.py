"""Sums over the replicas of `tf.distribute`, for means over the global batch.

On JAX, a tensor is the global batch no matter how it is sharded, so nothing needs to be done.
"""

from typing import Any

from keras import backend, ops


def num_replicas() -> int:
    """Returns the number of replicas that share a batch, or 1 outside a replica context."""
    if backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(value: Any) -> Any:
    """Returns the sum of a tensor over all replicas, without a gradient.

    Args:
        value: A tensor of the same shape on each replica.

    Returns:
        A tensor of that shape; `value` itself if there is one replica.
    """
    if num_replicas() == 1:
        return value
    import tensorflow as tf

    value = ops.stop_gradient(value)
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
