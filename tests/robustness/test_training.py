"""Training in half precision stays finite; see `python -m tests.robustness.soak`."""

import pytest

from tests.robustness import training


@pytest.mark.slow
@pytest.mark.parametrize("policy", training.POLICIES)
def test_half_precision_stays_finite(policy):
    steps, first, last = training.train(policy, 60, minutes=1.0)
    assert steps >= 50 and last < first
