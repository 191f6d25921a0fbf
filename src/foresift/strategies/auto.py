"""The strategy to begin with when none was chosen: typical samples first, uncertain ones when a head has learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.softmax_head import (
    Standard,
    balanced_accuracy,
    out_of_fold,
    softmax_head,
    standard_of,
    stratified_folds,
)
from foresift.selection.base import Strategy
from foresift.selection.registry import parse, strategy
from foresift.strategies.dpp_similarity import FEATURES_A_PICK, MOST_FEATURES
from foresift.strategies.typiclust import TypiClust

FOLDS = 5
LABELS_A_CLASS = 5
"""Labels in the median class before uncertainty is looked at."""
TIMES_CHANCE = 2
RULE_ROWS = 2_000
"""Labeled rows that the rule is tried on, drawn at random where there are more."""
DPP_PICKS = MOST_FEATURES // FEATURES_A_PICK
"""Larger batches have fewer than two features a pick: no k-DPP is drawn of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The labeled rows that have embeddings."""

    rows: npt.NDArray[np.float32]
    """(m, d)"""
    codes: Rows
    """(m,) within 0 .. c - 1; every class occurs."""

    @property
    def classes(self) -> int:
        """c, the classes that were seen."""
        return int(self.codes.max(initial=-1)) + 1

    @property
    def median(self) -> float:
        """Labels in the median class seen; 0 without labels."""
        return float(np.median(np.bincount(self.codes))) if len(self.codes) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether uncertainty can be trusted, and why."""

    uncertain: bool
    why: str
    figures: dict[str, Any]


@strategy
@dataclass(frozen=True, kw_only=True)
class Auto(Strategy):
    """Typical samples while there are few labels, uncertain ones as soon as a linear head tells the classes apart.

    Without labels, and until the rule below holds: ``typiclust`` where labeled rows and picks together
    make no more than its 500 clusters, else ``k-dpp`` (beyond 500, typiclust would take several picks of one
    cluster). Then ``margin`` of a linear head on the embeddings, or ``ua-dpp`` with it for batches of
    ``large`` and more, whose most uncertain samples would repeat each other. The rule: the median class
    seen has 5 labels, and a linear head's balanced accuracy in 5-fold cross-validation is above twice
    chance, or half way from chance to 1 where twice chance is more (up to 3 classes). The head is fitted
    to all labeled rows that have embeddings; the model's own head, if it has one, is not asked.
    ``details`` say what ran and why.

    Args:
        large: 1 or more.
    Cost: six fits of O(m c d) a step on m labeled rows, O(n c d) for the logits, and that of what runs.
    Source: the switch follows TCM (Doucet et al. 2024), which changes from TypiClust to margin after a fixed
        number of labels a class; here it also waits until the embeddings have proved their worth.
    """

    name: ClassVar[str] = "auto"
    cite: ClassVar[str] = "after Doucet et al. 2024 (TCM: TypiClust, then margin)"
    cost: ClassVar[str] = "that of typiclust, k-dpp, margin or ua-dpp, and O(n c d) time, O(n c) memory"
    when: ClassVar[str] = "no strategy in mind; from the first label on, embeddings needed only"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    uses: ClassVar[tuple[str, ...]] = ("labels",)

    large: int = 1000

    def __post_init__(self) -> None:
        if self.large < 1:
            raise UsageError(f"large must be 1 pick or more, got {self.large}")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """The picks of whatever the rule calls for.

        Raises:
            UsageError: samples are labeled, and their classes are not all known.
        """
        known = known_rows(query)
        standard = standard_of([query.matrix("embeddings"), query.labeled_matrix("embeddings")])
        verdict = judge(known, standard, rng)
        if verdict.uncertain:
            chosen, reason = self._later(query.budget)
            seen = query.plus("logits", _logits(query, known, standard))
        else:
            chosen, reason = first_choice(len(known.codes), query.budget)
            seen = query
        picks = chosen.pick(seen.seen_by(chosen.needs), rng)
        ran = {"ran": chosen.spelled(), "why": f"{verdict.why}; {reason}", **verdict.figures}
        return replace(picks, details={**ran, **({chosen.name: dict(picks.details)} if picks.details else {})})

    def _later(self, budget: int) -> tuple[Strategy, str]:
        if budget < self.large:
            return parse("margin"), f"fewer than {self.large} picks: the most uncertain ones"
        if budget > DPP_PICKS:
            return parse("margin"), f"more than {DPP_PICKS} picks are too many for ua-dpp: the most uncertain ones"
        return parse("ua-dpp"), f"{self.large} picks or more: uncertain and diverse ones"


def known_rows(query: Query) -> Known:
    """The labeled rows that have embeddings, their classes numbered from 0 in ascending order of code.

    Raises:
        UsageError: classes of labeled samples are missing.
    """
    if query.labels is None and len(query.labeled_ids):
        raise UsageError(
            f"strategy auto decides by the labels of the {len(query.labeled_ids)} labeled samples, and they are "
            "missing, contradict each other or name no class of the model; give a --labeled file whose label column "
            "is filled in"
        )
    rows = query.labeled_matrix("embeddings").whole()
    if query.labels is None or not len(rows):
        return Known(rows=rows, codes=np.empty(0, dtype=np.intp))
    return Known(rows=rows, codes=np.unique(query.labels[query.labeled_rows], return_inverse=True)[1])


def judge(known: Known, standard: Standard, rng: np.random.Generator) -> Verdict:
    """Whether a linear head on the embeddings tells the classes apart well enough to be asked where it is unsure."""
    c, median = known.classes, known.median
    figures = {"labels": len(known.codes), "classes": c, "median_labels": median}
    if not c:
        return Verdict(uncertain=False, why="nothing is labeled yet", figures=figures)
    if c < 2:
        return Verdict(uncertain=False, why="only one class has labels yet", figures=figures)
    if median < LABELS_A_CLASS:
        why = f"the median class has {median:g} labels, fewer than {LABELS_A_CLASS}"
        return Verdict(uncertain=False, why=why, figures=figures)
    reached, needed = cross_validated(known, standard, rng), least_accuracy(c)
    figures = {**figures, "balanced_accuracy": round(reached, 4), "needed": round(needed, 4)}
    side = "above" if reached > needed else "not above"
    why = f"a linear head has a balanced accuracy of {reached:.1%} out of fold, {side} {needed:.1%}"
    return Verdict(uncertain=reached > needed, why=why, figures=figures)


def least_accuracy(classes: int) -> float:
    """What balanced accuracy must exceed: twice chance, but no more than half way from chance to 1."""
    chance = 1 / classes
    return min(TIMES_CHANCE * chance, (1 + chance) / 2)


def cross_validated(known: Known, standard: Standard, rng: np.random.Generator) -> float:
    """Balanced accuracy of a linear head in 5-fold cross-validation, on ``RULE_ROWS`` rows at most."""
    some = np.sort(rng.permutation(len(known.codes))[:RULE_ROWS])
    rows, codes = known.rows[some], np.unique(known.codes[some], return_inverse=True)[1]
    folds = stratified_folds(codes, FOLDS, rng)
    predicted = out_of_fold(rows, codes, folds, classes=int(codes.max()) + 1, standard=standard)
    return balanced_accuracy(predicted, codes)


def first_choice(labels: int, budget: int) -> tuple[Strategy, str]:
    """What runs before the rule holds, and why this one."""
    most, clusters = TypiClust().max_clusters, labels + budget
    if clusters <= most:
        return parse("typiclust"), f"typical samples of {budget} of {clusters} clusters"
    if budget <= DPP_PICKS:
        return parse("k-dpp"), f"{clusters} clusters would be more than {most}: a diverse set instead"
    return parse("typiclust"), f"more than {DPP_PICKS} picks are too many for k-dpp: several of each of {most} clusters"


def _logits(query: Query, known: Known, standard: Standard) -> npt.NDArray[np.float32]:
    """(n, c) logits of the candidates by a head that all labeled rows teach."""
    head = softmax_head(known.rows, known.codes, classes=known.classes, standard=standard)
    return head.over(query.matrix("embeddings"))
