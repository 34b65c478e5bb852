"""Every layer through the harness that Keras has for its own layers.

It checks serialization, shapes and dtypes before and in a call, numbers of weights, and mixed
precision. Steps of training are those of our own harness.
"""

import pytest
from keras.src import testing

from tests.layers.cases import CASES, given


@pytest.mark.parametrize("name", CASES)
def test_layer_passes_the_harness_of_keras(name):
    layer_class, arguments, inputs, shape, num_weights, _ = CASES[name]
    shapes = {f"{argument}_shape": x.shape for argument, x in given(inputs).items()}
    dtypes = {f"{argument}_shape": str(x.dtype) for argument, x in given(inputs).items()}
    alone = len(shapes) == 1
    testing.TestCase().run_layer_test(
        layer_class,
        arguments,
        input_shape=next(iter(shapes.values())) if alone else shapes,
        input_dtype=next(iter(dtypes.values())) if alone else dtypes,
        expected_output_shape=shape,
        expected_num_trainable_weights=num_weights,
        expected_num_non_trainable_weights=0,
        run_training_check=False,
    )
