"""The batch that leaves least uncertainty about the last layer, by its Fisher information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.fisher import Design, information, principal, projected
from foresift.kernels.greedy import TIE, first_largest
from foresift.kernels.softmax import softmax
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy

MAX_ROWS = 5000
"""Rows of a Fisher matrix, c * d: 200 MB each, of which a few are held."""
MAX_FORMS = 1 << 28
"""Numbers that are kept for the candidates, 2 n c^2: 2 GiB."""
Floats = npt.NDArray[np.float64]


@strategy
@dataclass(frozen=True, kw_only=True)
class Bait(Strategy):
    """BAIT: minimises the trace of (Fisher information of labeled and picked)^-1 (that of the pool).

    Picks ``oversample`` times the budget greedily, then removes those that are missed least. Labeled
    samples are part of the design from the start. Scores are by how much the trace fell at each pick.

    Args:
        oversample: forward picks per label of the budget, 1 or more; 1 = no removal.
        ridge: added to the diagonal of the design, above 0, in units of squared embeddings.
        classes: only so many classes, the most probable ones of the pool; all others count as one.
            0 = all.
        dims: embeddings are projected on so many principal directions; 0 = all.
    Cost: O(n D^2 + D^3 + k n (d c^2 + c^3) + k c D^2) time with D = c d, O(n c^2 + D^2) memory in float64;
        D is limited to 5,000.
    Source: Ash et al. 2021, algorithm 1. Labeled samples enter by the sum of their information, as picks
        do, not by its mean; the last layer has no bias.
    """

    name: ClassVar[str] = "bait"
    cite: ClassVar[str] = "Ash et al. 2021"
    cost: ClassVar[str] = "O(n D^2 + k n d c^2) time, O(n c^2 + D^2) memory with D = c d <= 5,000"
    when: ClassVar[str] = "few classes and narrow embeddings, where a label is worth minutes of computing"
    needs: ClassVar[tuple[str, ...]] = ("logits", "embeddings")
    oversample: int = 2
    ridge: float = 1.0
    classes: int = 0
    dims: int = 0

    def __post_init__(self) -> None:
        if self.oversample < 1:
            raise UsageError(f"{self.name}: oversample must be 1 or more, got {self.oversample}")
        if not 0 < self.ridge < np.inf:
            raise UsageError(f"{self.name}: ridge must be above 0 and finite, got {self.ridge}")
        for parameter in ("classes", "dims"):
            if getattr(self, parameter) < 0:
                raise UsageError(f"{self.name}: {parameter} must be 0 (all) or more, got {getattr(self, parameter)}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:  # noqa: ARG002 - nothing is random
        """The forward picks that are left after the removal, in the order in which they were picked."""
        probs, embeddings, known, known_embeddings = self._inputs(query)
        _check_size(len(query), probs.shape[1], embeddings.width, name=self.name)
        pool = information(probs, embeddings) / len(query)
        start = information(known, known_embeddings)
        start[np.diag_indices_from(start)] += self.ridge
        wanted = min(self.oversample * query.budget, len(query))
        rows, falls = forward(Design(probs, embeddings, pool=pool, design=start), wanted)
        chosen, chosen_embeddings = probs[rows], embeddings.subset(rows)
        whole = start + information(chosen, chosen_embeddings)
        design = Design(chosen, chosen_embeddings, pool=pool, design=whole)
        kept = backward(design, rows, query.budget)
        return Picks(
            rows=rows[kept],
            scores=falls[kept],
            solver="forward-backward greedy",
            approx=self._approx(query),
            details={"forward_picks": len(rows), "trace": design.trace},
        )

    def _inputs(self, query: Query) -> tuple[Floats, RowMatrix, Floats, RowMatrix]:
        """Probabilities and embeddings of the candidates, and those of the labeled samples."""
        probs, embeddings = _probs(query.matrix("logits")), query.matrix("embeddings")
        known = np.empty((0, probs.shape[1]))
        known_embeddings = RowMatrix(array=np.empty((0, embeddings.width), dtype=np.float32))
        if query.labeled_columns:
            known = _probs(query.labeled_matrix("logits"))
            known_embeddings = query.labeled_matrix("embeddings")
        if 0 < self.classes < probs.shape[1] - 1:
            frequent = np.sort(np.argsort(-probs.mean(axis=0), kind="stable")[: self.classes])
            probs, known = merged(probs, frequent), merged(known, frequent)
        if 0 < self.dims < embeddings.width:
            directions = principal(embeddings, self.dims)
            embeddings, known_embeddings = projected(embeddings, directions), projected(known_embeddings, directions)
        return probs, embeddings, known, known_embeddings

    def _approx(self, query: Query) -> str:
        c, d = query.matrix("logits").width, query.matrix("embeddings").width
        parts = []
        if 0 < self.classes < c - 1:
            parts.append(f"all but the {self.classes} most probable of {c} classes count as one")
        if 0 < self.dims < d:
            parts.append(f"embeddings are projected on {self.dims} of {d} principal directions")
        return "; ".join(parts)


def forward(design: Design, k: int) -> tuple[Rows, Values]:
    """(k,) candidates that let the trace fall most, each given those before it, and by how much it fell."""
    rows, falls = np.empty(k, dtype=np.intp), np.empty(k)
    free = np.ones(len(design), dtype=np.bool_)
    for step in range(k):
        gains = np.where(free, design.falls(), -1)
        rows[step] = row = first_largest(gains)
        falls[step] = gains[row]
        free[row] = False
        design.add(row)
    return rows, falls


def backward(design: Design, rows: Rows, k: int) -> Rows:
    """(k,) positions, ascending, that remain when those whose removal lets the trace rise least are taken out.

    Args:
        design: of m candidates, all of them in it.
        rows: (m,) their rows in the pool; of equal rises the higher row is removed.
        k: within 0 .. m.
    """
    kept = np.ones(len(rows), dtype=np.bool_)
    for _ in range(len(rows) - k):
        rises = np.where(kept, design.rises(), np.inf)
        equal = np.flatnonzero(rises <= rises.min() * (1 + TIE))
        worst = int(equal[np.argmax(rows[equal])])
        kept[worst] = False
        design.remove(worst)
    return np.flatnonzero(kept)


def merged(probs: Floats, classes: Rows) -> Floats:
    """(n, K + 1) the probabilities of K classes and, last, of all others together."""
    some = probs[:, classes]
    return np.column_stack([some, np.delete(probs, classes, axis=1).sum(axis=1)])


def _probs(logits: RowMatrix) -> Floats:
    return softmax(logits.whole().astype(np.float64)).astype(np.float64)


def _check_size(n: int, c: int, d: int, *, name: str) -> None:
    """Raises ``UsageError`` where matrices would not fit."""
    if c * d > MAX_ROWS:
        raise UsageError(
            f"{name} inverts a matrix of c * d = {c} * {d} = {c * d} rows, at most {MAX_ROWS}: merge classes with "
            f"classes=K (then c = K + 1), or project the embeddings with dims=D"
        )
    if 2 * n * c * c > MAX_FORMS:
        raise UsageError(
            f"{name} keeps 2 n c^2 numbers for n = {n} candidates and c = {c} classes, at most {MAX_FORMS}: "
            f"merge classes with classes=K, or let it see fewer candidates, as in margin:keep=5000+{name}"
        )
