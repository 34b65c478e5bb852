"""TensorFlow: a decoding function as a graph, which XLA compiles for each set of shapes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from keras import tree

from keras_transformer.decoding.programs import max_programs

# How many sets of shapes XLA has compiled in this process. TensorFlow never frees them, not even
# with their functions.
_num_compiled = 0


class TensorFlowProgram:
    """A function of tensors as a TensorFlow graph, traced once for all shapes.

    XLA compiles it for each set of shapes, as long as there are no more than `max_programs()` of
    them in the process. Further shapes run the graph without XLA.

    Args:
        function: `function(state, tensors)`, which returns a nest of tensors.
        state: An example of the state.
        tensors: An example of the other tensors.
        use_xla: Whether to use XLA.
        lock: A lock for what only one thread may do at a time.
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        state: Any,
        tensors: Any,
        use_xla: bool,
        lock: contextlib.AbstractContextManager,
    ):
        self._function, self._lock = function, lock
        self._given = tree.map_structure(lambda tensor: 0, (state, tensors))
        self._specs = [_open_axes(tensor) for tensor in tree.flatten((state, tensors))]
        self._returned: Any = None
        self._shapes: set = set()  # those that XLA has compiled
        self._compiled = self._trace(True) if use_xla else None
        self._plain = None if use_xla else self._trace(False)

    def __call__(self, state: Any, tensors: Any) -> Any:
        """Returns the result of the function."""
        flat = tree.flatten((state, tensors))
        return tree.pack_sequence_as(self._returned, self._graph_for(flat)(*flat))

    def _graph_for(self, flat):
        global _num_compiled
        if self._compiled is None:
            return self._plain
        shapes = tuple(tuple(tensor.shape) for tensor in flat)
        if shapes in self._shapes:
            return self._compiled
        with self._lock:
            if shapes in self._shapes:
                return self._compiled
            if _num_compiled < max_programs():
                _num_compiled += 1
                self._shapes.add(shapes)
                return self._compiled
            if self._plain is None:
                self._plain = self._trace(False)
        return self._plain

    def _trace(self, use_xla):
        import tensorflow as tf

        def traced(*flat):
            state, tensors = tree.pack_sequence_as(self._given, flat)
            result = self._function(state, tensors)
            self._returned = tree.map_structure(lambda tensor: 0, result)
            return tree.flatten(result)

        program = tf.function(
            traced, input_signature=self._specs, autograph=False, jit_compile=use_xla
        )
        # Call the concrete function with flat tensors: processing nests and the signature would
        # cost another millisecond per call, which adds up in a stream.
        return program.get_concrete_function()


def _open_axes(tensor):
    """Returns a specification with free batch sizes and lengths.

    Only the number of heads and their size stay static, in caches (B, heads, L, size).
    """
    import tensorflow as tf

    shape = [None] * tensor.ndim
    if tensor.ndim == 4:
        shape[1], shape[3] = tensor.shape[1], tensor.shape[3]
    return tf.TensorSpec(shape, tensor.dtype)
