"""The contract of every strategy, and the one way in which all of them are run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from foresift.core.about import foresift_version
from foresift.core.arrays import Ids, Rows, Values, frozen, is_ascending
from foresift.core.digests import digest_ids
from foresift.core.predictions import Predictions
from foresift.core.queries import Picks, Query, Receipt, Selection
from foresift.core.registry import build, parse_spec, spell
from foresift.selection.batches import pick_batch
from foresift.selection.candidates import Codes, build_query, checked_budget, producers_of
from foresift.selection.contract import check_finite, check_picks, checked_seed, generator
from foresift.selection.control import checked_share
from foresift.selection.guards import NO_GUARDS, Guards

__all__ = ["Strategy", "check_finite", "check_picks", "checked_seed", "generator", "spelling"]


@dataclass(frozen=True, kw_only=True)
class Strategy(ABC):
    """Chooses which candidates to label: a frozen dataclass whose fields are its hyper-parameters.

    A subclass sets ``name`` and ``needs`` and writes :meth:`pick`; validation, order of
    candidates, seeding, checks and the receipt are done once, in :meth:`select`.
    Instances hold no other state: the same instance may serve several threads.
    """

    name: ClassVar[str] = ""
    """Lower-case words joined by hyphens."""
    aliases: ClassVar[tuple[str, ...]] = ()
    cite: ClassVar[str] = ""
    """The publication that defines it."""
    cost: ClassVar[str] = ""
    """Time and memory in n candidates, d width, c classes, k picks; one line for the table of strategies."""
    when: ClassVar[str] = ""
    """When to use it, in one line for the table of strategies."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Columns of the predictions; also ``labels`` (class codes of labeled rows) and ``truth``
    (class codes of the candidates themselves). A strategy that is made of others says so for each
    instance, in ``__post_init__``, by :meth:`_declare`."""
    uses: ClassVar[tuple[str, ...]] = ()
    """What it reads where it is there and does without where it is not: ``labels``."""
    prefix: ClassVar[bool] = False
    """Whether the first b picks for a larger budget are the picks for budget b."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "select" in vars(cls):
            raise TypeError(f"{cls.__name__} must not override select; write pick")

    def _declare(self, **declared: Any) -> None:
        """Say for this instance what the class says for all: ``name``, ``needs``, ``uses`` or ``prefix``."""
        for what, value in declared.items():
            object.__setattr__(self, what, value)

    @abstractmethod
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """Rows of ``query.budget`` distinct candidates, in the order in which to label them.

        Must depend on the query and on ``rng`` alone, and must not write to the query's
        arrays. Candidates are in ascending order of id, so ties go to the lower row.

        Args:
            query: n candidates, budget within 1 .. n.
            rng: the only source of randomness.
        Raises:
            NonFiniteError: a score is NaN or infinite.
        """

    def values(self, query: Query) -> Values | None:  # noqa: ARG002 - for those who rank
        """(n,) the value by which each candidate is ranked; None if nothing is ranked."""
        return None

    def kept_by_stage(self, query: Query, rng: np.random.Generator) -> list[tuple[str, Rows]]:  # noqa: ARG002
        """For a strategy of stages: each one's name and the ascending rows that it leaves to the next."""
        return []

    def check_budget(self, budget: int) -> None:  # noqa: B027 - most strategies can serve any budget
        """Refuse a budget that this strategy could never serve, before any work.

        Raises:
            UsageError: why, and what to change.
        """

    def spelled(self) -> str:
        """The canonical spelling, ``NAME`` or ``NAME:key=value,...`` with every parameter.

        Defaults are written out too, so that a receipt keeps its meaning when a default changes.
        """
        return spell(self.name, self)

    def parameters_for(self, column: str) -> Mapping[str, Any]:  # noqa: ARG002 - for those made of several
        """Parameters that the pass that makes a column of ``needs`` takes where it has any of the same names."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    @classmethod
    def from_spelling(cls, spec: str) -> Strategy:
        """Inverse of :meth:`spelled`; raises ``UsageError`` where it does not fit."""
        return build(cls, parse_spec(spec)[1], spec=spec)

    @final
    def select(
        self,
        predictions: Predictions,
        *,
        budget: int,
        labeled: Iterable[Any] = (),
        seed: int = 0,
        labels: Codes | None = None,
        truth: Codes | None = None,
        guards: Guards = NO_GUARDS,
        control: float = 0.0,
        pool: Mapping[str, Any] | None = None,
        model: Mapping[str, Any] | None = None,
        engine: Mapping[str, Any] | None = None,
    ) -> Selection:
        """The samples to label next, in order, with their receipt.

        The same predictions, labeled ids and seed give the same ids, in whatever order
        rows come and on however many threads.

        Args:
            predictions: n rows; labeled ones may be among them and are never picked.
            budget: labels to buy. 0 gives an empty selection; more than there are candidates
                gives all of them, and the receipt says ``short``.
            labeled: m ids.
            seed: 0 or more.
            labels: (m,) class codes in the order of ``labeled``.
            truth: (n,) class codes in the order of the predictions; only strategies that
                need ``truth`` see them.
            guards: what must not be picked; the receipt says what they removed and what it cost.
            control: share of the budget that is drawn at random instead, within [0, 1].
            pool, model, engine: what the receipt should say of them.
        Raises:
            BudgetError: negative budget.
            MissingColumnError: the predictions lack a column.
            UsageError: labels or truth are needed and missing.
            NonFiniteError: a score is NaN or infinite.
            ContractError: the strategy returned something else than k distinct candidates.
        """
        query = self.query(predictions, budget=budget, labeled=labeled, labels=labels, truth=truth, guards=guards)
        share = checked_share(control)
        batch = pick_batch(self, query, seed=seed, guards=guards, control=share)
        picks, ids = batch.picks, frozen(query.ids[batch.picks.rows])
        receipt = Receipt(
            strategy=spelling(self),
            budget=checked_budget(budget),
            seed=checked_seed(seed),
            solver=picks.solver,
            approx=picks.approx,
            short=checked_budget(budget) > len(ids),
            n_candidates=len(query),
            candidates=digest_ids(query.ids),
            n_labeled=len(query.labeled_ids),
            labeled=digest_ids(query.labeled_ids),
            producers=producers_of(predictions, (*self.needs, *guards.needs)),
            selected=digest_ids(ids),
            details=dict(picks.details),
            guards=dict(batch.guards),
            control=dict(batch.control),
            pool=dict(pool or {}),
            model=dict(model or {}),
            engine=dict(engine or {}),
            foresift=foresift_version(),
        )
        return Selection(
            sample_ids=ids,
            scores=picks.scores,
            receipt=receipt,
            uris=_uris(predictions, ids),
            n_control=batch.n_control,
            barred={reason: frozen(query.ids[rows]) for reason, rows in batch.barred.items()},
        )

    @final
    def query(
        self,
        predictions: Predictions,
        *,
        budget: int,
        labeled: Iterable[Any] = (),
        labels: Codes | None = None,
        truth: Codes | None = None,
        guards: Guards = NO_GUARDS,
    ) -> Query:
        """What :meth:`pick` and :meth:`values` would see, and what the guards read; arguments as for :meth:`select`."""
        return build_query(
            predictions,
            needs=tuple(dict.fromkeys((*self.needs, *guards.needs))),
            uses=self.uses,
            budget=budget,
            labeled=labeled,
            labels=labels,
            truth=truth,
        )


def spelling(strategy: Strategy) -> str:
    """The canonical spelling of a strategy, which ``parse`` turns into an equal one."""
    return strategy.spelled()


def _uris(predictions: Predictions, ids: Ids) -> npt.NDArray[np.str_] | None:
    if predictions.uris is None:
        return None
    known = predictions.sample_ids
    order = None if is_ascending(known) else np.argsort(known, kind="stable")
    at = np.searchsorted(known, ids, sorter=order)
    return frozen(predictions.uris[at if order is None else order[at]])
