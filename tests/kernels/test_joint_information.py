"""Conditional information from kept configurations against enumeration."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.matrices import RowMatrix
from foresift.kernels.joint_information import JointInformation
from information import joint_information, member_logits


@pytest.mark.parametrize("samples", [32, 250])
def test_estimated_gains_are_near_the_exact_ones(samples: int) -> None:
    logits = member_logits(8, 4, 3)
    exact = joint_information(logits, [0, 1, 2, 3, 4, 7]) - joint_information(logits, [0, 1, 2, 3, 4])
    errors = []
    for seed in range(30):
        information = JointInformation(
            RowMatrix(array=logits).take, 8, samples=samples, rng=np.random.default_rng(seed)
        )
        for row in (0, 1, 2, 3, 4):
            information.add(row)
        assert information.sampled == (samples < 3**5)
        errors.append(information.gains(np.array([7]))[0] - exact)
    error = np.log(4) / 2 / np.sqrt(samples)
    assert np.std(errors) <= error
    assert abs(np.mean(errors)) <= 3 * error / np.sqrt(30) + 1e-12
