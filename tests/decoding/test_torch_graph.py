"""Recorded steps of torch against the steps themselves."""

import torch

from keras_transformer.decoding.torch_graph import record
from keras_transformer.decoding.torch_kernels import TransposedKernels


def run_both(step, state, tensors):
    recorded = record(step, state, tensors, TransposedKernels())
    expected, flag = step(state, tensors)
    actual, recorded_flag = recorded(tuple(leaf.clone() for leaf in state), tensors)
    assert bool(flag) == bool(recorded_flag)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_equal_copies_that_are_written_to_stay_apart():
    def step(state, tensors):
        zeros = torch.zeros(5)
        first, second = zeros.clone(), zeros.clone()
        first[tensors[0]] = 1.0
        second.view(5)[tensors[1]] = 2.0
        return (state[0] + first, state[1] + second), first.sum() > 0

    run_both(step, (torch.ones(5), torch.ones(5)), (torch.tensor([0, 3]), torch.tensor([1])))


def test_a_bias_of_another_shape_or_dtype_is_added_apart():
    def step(state, tensors):
        product = tensors[0] @ tensors[1]
        wide = product + tensors[2]  # (3, 2, 5)
        double = tensors[0] @ tensors[1] + tensors[2][0].double()
        biased = tensors[1] @ tensors[1].T + tensors[3]
        return (state[0] + wide, state[1] + double, state[2] + biased), state[0].sum() > 0

    tensors = (torch.rand(2, 7), torch.rand(7, 5), torch.rand(3, 2, 5), torch.rand(7))
    state = (torch.ones(3, 2, 5), torch.ones(2, 5).double(), torch.ones(7, 7))
    run_both(step, state, tensors)
