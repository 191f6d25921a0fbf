"""Exact samples, marginals and expected counts of a k-DPP whose spectrum is known."""

from __future__ import annotations

import numpy as np

from foresift.core.arrays import Rows
from foresift.kernels.dpp_elementary import check_rank, inclusion_probabilities, select_eigenvectors
from foresift.kernels.dpp_ensembles import Ensemble
from foresift.kernels.dpp_features import Array
from foresift.kernels.dpp_projection import sample_projection

SCREENED_ABOVE = 2_000
"""For more picks than these proposals are looked at in float32 first."""


def sample_k_dpp(ensemble: Ensemble, k: int, rng: np.random.Generator) -> Rows:
    """(k,) distinct rows with P(Y) prop. to det(L_Y), in the order in which they were drawn.

    O(r k + k^3 log k) time beside one pass for the leverages and k H_k rows of eigenvectors.

    Raises:
        UsageError: k above the rank of L.
    Source: Kulesza and Taskar 2012, algorithm 8; phase 2 by rejection, Barthelme et al. 2023.
    """
    check_rank(len(ensemble.eigenvalues), k)
    if k == 0:
        return np.empty(0, dtype=np.intp)
    columns = select_eigenvectors(np.log(ensemble.eigenvalues), k, rng)
    chosen = np.zeros(len(ensemble.eigenvalues))
    chosen[columns] = 1.0
    roughly = ensemble.eigenvector_rows(columns, dtype=np.float32) if k > SCREENED_ABOVE else None
    return sample_projection(ensemble.squares(chosen), ensemble.eigenvector_rows(columns), k, rng, roughly=roughly)


def sample_beyond_rank(ensemble: Ensemble, k: int, rng: np.random.Generator) -> Rows:
    """(k,) distinct rows for any k up to n: the limit of the k-DPP of L + eps I for eps to 0.

    det (L + eps I)_Y is the sum over S in Y of det(L_S) eps^|Y - S|: as eps falls, only the
    largest S count. So rank(L) rows are a draw of the DPP, and any set of others is equally
    likely to complete them. For k up to the rank this is the k-DPP itself.
    """
    rank = len(ensemble.eigenvalues)
    spread = sample_k_dpp(ensemble, min(k, rank), rng)
    rest = np.setdiff1d(np.arange(len(ensemble)), spread, assume_unique=True)
    return np.concatenate([spread, rng.permutation(rest)[: k - len(spread)]])


def marginals(ensemble: Ensemble, k: int) -> Array:
    """(n,) probability of each row to be in the sample; they sum to k. One pass over the pool.

    P(i) = sum over eigenvectors of V_in^2 P(n is among the k drawn).

    Raises:
        UsageError: k above the rank of L.
    Source: Kulesza and Taskar 2012, section 5.2.
    """
    return ensemble.squares(inclusion_probabilities(np.log(ensemble.eigenvalues), k))


def expected_counts(ensemble: Ensemble, k: int, strata: Rows) -> Array:
    """(s,) expected number of samples from each stratum; they sum to min(k, rank).

    Args:
        strata: (n,) stratum of each row, 0 .. s - 1.
    """
    chances = marginals(ensemble, min(k, len(ensemble.eigenvalues)))
    return np.asarray(np.bincount(strata, weights=chances))
