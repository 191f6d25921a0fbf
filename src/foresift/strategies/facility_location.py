"""Picks that represent the pool: every candidate is close, in angle, to one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foresift.core.queries import Query
from foresift.kernels.similarities import Cosine, Kernel
from foresift.selection.registry import strategy
from foresift.strategies.greedy_coverage import GreedyCoverage


@strategy
@dataclass(frozen=True, kw_only=True)
class FacilityLocation(GreedyCoverage):
    """Facility location: picks whose embeddings are similar, in angle, to as many candidates as possible.

    Similarity is the cosine, 0 where negative, so that the objective is monotone and submodular;
    labeled samples cover first. Reaches 1 - 1/e of the optimum; scores are what each pick adds to the
    mean similarity of a candidate to the nearest pick.

    Args:
        references: candidates on which coverage is measured; 0 = all up to 100,000, else 20,000.
        neighbours: largest similarities kept of each; 0 = all.
        sample: random candidates looked at for each pick; 0 = all that may win.
    Cost: O(n^2 d) once, twice where nothing is labeled; 4 n d bytes, and up to 1 GiB for the similarities
        that can still matter. While there are more of these, O(n d) for each gain that is computed again.
    Source: Wei et al. 2015, eq. 3, without their filter by uncertainty; lazy greedy after Minoux 1978.
    """

    name: ClassVar[str] = "facility-location"
    cite: ClassVar[str] = "Wei et al. 2015"
    cost: ClassVar[str] = "O(n^2 d) time, O(n d) memory; beyond 100,000 candidates O(20,000 n d)"
    when: ClassVar[str] = "few labels and embeddings whose angles mean something; a representative batch"

    def kernel(self, query: Query) -> Kernel:  # noqa: ARG002 - the cosine has no scale to fit
        """The cosine."""
        return Cosine()
