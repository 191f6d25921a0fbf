"""Phase 1 of a k-DPP: elementary symmetric polynomials of a spectrum, and k eigenvectors drawn by them.

Everything is in logarithms: e_k of a thousand eigenvalues leaves the range of float64 long before
k = 250, in either direction, where its logarithm is an ordinary number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError

Array = npt.NDArray[np.floating[Any]]


def log_elementary(log_values: Array, k: int) -> Array:
    """(r + 1, k + 1) logarithms: entry (m, l) is log e_l of the first m values; -inf where l > m.

    e_l(x_1..x_m) = e_l(x_1..x_m-1) + x_m e_l-1(x_1..x_m-1): sums of positive numbers only, so
    nothing cancels. O(r k) time and memory.

    Args:
        log_values: (r,) logarithms of positive values, in any order.
        k: the largest order, 0 or more.
    Source: Kulesza and Taskar 2012, algorithm 7, in logarithms.
    """
    table = np.full((len(log_values) + 1, k + 1), -np.inf)
    table[0, 0] = 0.0
    for m, log_value in enumerate(log_values):
        table[m + 1, 0] = 0.0
        np.logaddexp(table[m, 1:], log_value + table[m, :-1], out=table[m + 1, 1:])
    return table


def select_eigenvectors(log_values: Array, k: int, rng: np.random.Generator) -> Rows:
    """(k,) ascending indices J of eigenvalues, drawn with probability prod of J / e_k.

    O(r k) time and memory.

    Args:
        log_values: (r,) logarithms of the positive eigenvalues.
        k: 0 .. r.
    Raises:
        UsageError: k above r.
    Source: Kulesza and Taskar 2012, algorithm 8.
    """
    check_rank(len(log_values), k)
    table = log_elementary(log_values, k)
    draws = np.log(1.0 - rng.random(len(log_values)))  # 1 - u lies within (0, 1]: the logarithm is finite
    chosen, left = [], k
    for m in range(len(log_values), 0, -1):
        if left == 0:
            break
        if draws[m - 1] < log_values[m - 1] + table[m - 1, left - 1] - table[m, left] or m == left:
            chosen.append(m - 1)
            left -= 1
    return np.array(chosen[::-1], dtype=np.intp)


def inclusion_probabilities(log_values: Array, k: int) -> Array:
    """(r,) probability of each eigenvector to be among the k drawn ones; they sum to k.

    P(m) = x_m e_k-1(all but x_m) / e_k, and e_k-1(all but x_m) is the sum over l of
    e_l(those before m) e_k-1-l(those after m): positive terms, so nothing cancels. O(r k).

    Raises:
        UsageError: k above r.
    Source: Kulesza and Taskar 2012, section 5.2.
    """
    r = len(log_values)
    check_rank(r, k)
    if k == 0:
        return np.zeros(r)
    before = log_elementary(log_values, k)
    after = log_elementary(log_values[::-1], k)[::-1]
    terms = before[:r, :k] + after[1:, k - 1 :: -1]
    highest = terms.max(axis=1)
    rest = highest + np.log(np.exp(terms - highest[:, None]).sum(axis=1))
    return np.asarray(np.minimum(1.0, np.exp(log_values + rest - before[r, k])))


def check_rank(rank: int, k: int) -> None:
    """Hold k to the rank of a kernel: a larger set has determinant 0.

    Raises:
        UsageError: k above the rank.
    """
    if k > rank:
        raise UsageError(
            f"a k-DPP of rank {rank} holds no set of {k}: every larger set has determinant 0; "
            f"ask for at most {rank}, use more features, a smaller scale, or remove duplicates"
        )
