"""How far the members of an ensemble disagree, or are unsure together; all from one streamed state a sample.

Each formula reads the column ``members`` (:mod:`foresift.core.members`). A sample that no
member has seen has no value: NaN, which is refused with its name wherever values are ranked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.core.members import Members, State, entropy_of
from foresift.kernels.softmax import row_sums
from foresift.scores.registry import score

CHITTA = "Chitta et al. 2019, eq. 2-6"


@score(
    "predictive-entropy",
    needs=("members",),
    cite=f"{CHITTA}; Gal et al. 2017",
    when="as entropy, with several members or dropout passes",
)
def predictive_entropy(members: State) -> Values:
    """Entropy of the members' mean probability in nats, within [0, log c]: doubt of any kind.

    Args:
        members: (n,) state.
    Source: Chitta et al. 2019, eq. 2-6 (H).
    """
    return _seen(entropy_of(Members(members).mean), members)


@score(
    "mutual-information",
    needs=("members",),
    aliases=("bald", "BALDDropout"),
    cite=f"{CHITTA}; Houlsby et al. 2011",
    when="members that disagree because they lack data, not because images are ambiguous",
    several=True,
)
def mutual_information(members: State) -> Values:
    """Predictive entropy less the members' mean entropy, within [0, min(H, log e)]: doubt by disagreement.

    0 exactly where the members agree; a difference that rounding makes negative is 0 too. It is
    also the mean Kullback-Leibler divergence of the members to their mean, the committee's
    disagreement of McCallum and Nigam 1998.

    Args:
        members: (n,) state.
    Source: Houlsby et al. 2011, eq. 2; Chitta et al. 2019, eq. 2-6 (J).
    """
    ensemble = Members(members)
    return _seen(np.maximum(entropy_of(ensemble.mean) - ensemble.entropy, 0), members)


@score(
    "variation-ratios",
    needs=("members",),
    cite=f"{CHITTA}; Freeman 1965",
    when="many members, votes to be trusted more than probabilities",
    several=True,
)
def variation_ratios(members: State) -> Values:
    """Share of the members that do not vote for the class with most votes, within [0, 1 - 1/min(c, e)].

    Which of equally frequent classes counts as the mode changes nothing. There are at most e
    different values, so that many samples tie; the strategy of this name says how ties go.

    Args:
        members: (n,) state; a member votes for its most probable class, of equal ones the lowest.
    Source: Freeman 1965; Chitta et al. 2019, eq. 2-6 (V).
    """
    ensemble = Members(members)
    return _share_without(ensemble.votes.max(axis=1), ensemble)


@score(
    "error-count",
    needs=("members", "truth"),
    cite=CHITTA,
    when="fully labeled pools: which part of them is worth training on",
)
def error_count(members: State, truth: npt.NDArray[np.integer[Any]]) -> Values:
    """Share of the members that vote for another class than the true one, within [0, 1]; never below variation-ratios.

    Args:
        members: (n,) state.
        truth: (n,) class codes within 0 .. c - 1.
    Raises:
        UsageError: a class code that the members do not know.
    Source: Chitta et al. 2019, eq. 2-6 (E). Votes and truth together give the count of errors.
    """
    ensemble, codes = Members(members), np.asarray(truth)
    c = ensemble.classes
    if codes.size and (codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= c):
        raise UsageError(f"error-count needs true class codes within 0 .. {c - 1}, got {codes.min()} .. {codes.max()}")
    return _share_without(ensemble.votes[np.arange(len(codes)), codes], ensemble)


@score(
    "vote-entropy",
    needs=("members",),
    aliases=("query-by-committee",),
    cite="Seung et al. 1992; Argamon-Engelson and Dagan 1999",
    when="a committee of any kind: how evenly its votes are split",
    several=True,
)
def vote_entropy(members: State) -> Values:
    """Entropy of the members' votes over log min(c, e), within [0, 1]; one class or one member gives 0.

    Args:
        members: (n,) state; a member votes for its most probable class, of equal ones the lowest.
    Source: Argamon-Engelson and Dagan 1999, vote entropy normalised by its largest value.
    """
    ensemble = Members(members)
    shares = ensemble.votes / np.maximum(ensemble.counts, 1)[:, None].astype(np.float64)
    terms = -shares * np.log(np.where(shares > 0, shares, 1))
    highest = np.log(np.minimum(ensemble.classes, np.maximum(ensemble.counts, 1)).astype(np.float64))
    values = np.maximum(row_sums(terms), 0) / np.where(highest > 0, highest, 1)
    return _seen(np.minimum(values, 1), members)


@score(
    "mean-std",
    needs=("members",),
    aliases=("MeanSTD",),
    cite="Kampffmeyer et al. 2016; Kendall et al. 2017",
    when="members or dropout passes, a plain measure of their spread",
    several=True,
)
def mean_std(members: State) -> Values:
    """Mean over classes of the standard deviation of the probability over members, within [0, 1/2].

    Args:
        members: (n,) state.
    Source: Kampffmeyer et al. 2016: standard deviation over the members (divided by e), averaged over classes.
    """
    ensemble = Members(members)
    return _seen(row_sums(np.sqrt(ensemble.variance)) / ensemble.classes, members)


def _share_without(votes: npt.NDArray[np.uint16], ensemble: Members) -> Values:
    """(n,) 1 - votes / e, as a quotient of whole numbers."""
    counts = ensemble.counts.astype(np.float64)
    return _seen((counts - votes) / np.maximum(counts, 1), ensemble.state)


def _seen(values: Values, members: State) -> Values:
    return np.where(Members(members).counts > 0, values, np.nan)
