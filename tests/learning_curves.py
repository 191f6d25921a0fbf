"""Learning curves made up for tests: exponentials in the round, seen through binomial-like noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def exponentials(count: int, rounds: int, *, noise: float, seed: int) -> tuple[npt.NDArray[np.float64], ...]:
    """(count, rounds) of what is seen and of what is true."""
    rng = np.random.default_rng(seed)
    start, ceiling = rng.uniform(0.3, 0.6, count), rng.uniform(0.7, 0.95, count)
    rate = rng.uniform(0.15, 0.8, count)
    true = ceiling[:, None] - (ceiling - start)[:, None] * np.exp(-rate[:, None] * np.arange(rounds))
    return np.clip(true + rng.normal(0, noise, true.shape), 0, 1), true
