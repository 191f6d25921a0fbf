"""Select and score from predictions: the public door for arrays; needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.passes.fitted import fitted_passes, with_fitted
from foresift.core.arrays import frozen
from foresift.core.errors import BudgetError, NonFiniteError, UsageError
from foresift.core.members import Members
from foresift.core.predictions import POOL, Column, Predictions
from foresift.core.queries import Scores, Selection
from foresift.scores import SCORES
from foresift.selection.candidates import LABEL_NEEDS, Codes, class_codes
from foresift.selection.guards import Guards
from foresift.selection.registry import split_stages
from foresift.strategies import Strategy, parse


def select(
    predictions: Predictions,
    strategy: str | Strategy = "margin",
    *,
    budget: int,
    labeled: Iterable[Any] = (),
    seed: int = 0,
    labels: Codes | None = None,
    truth: Codes | None = None,
    groups: Sequence[str] | None = None,
    guards: Guards | Mapping[str, Any] | None = None,
    control: float = 0.0,
) -> Selection:
    """The samples to label next, in order, with their receipt.

    Args:
        predictions: n rows; labeled ones may be among them and are never picked.
        strategy: ``NAME`` or ``NAME:key=value,...`` (see ``foresift strategies``), or an instance.
        budget: labels to buy. 0 gives an empty selection; more than there are candidates
            gives all of them, and the receipt says ``short``.
        labeled: m ids.
        seed: 0 or more; the same seed gives the same ids.
        labels: (m,) class codes in the order of ``labeled``, for strategies that read ``labels``.
        truth: (n,) class codes in the order of the predictions, for those that need ``truth``.
        groups: (n,) names of videos, sites or the like in the order of the predictions, "" for none.
        guards: what must not be picked, as :class:`foresift.Guards` or a mapping of its fields.
        control: share of the budget that is drawn at random instead, so that something can be
            estimated without bias (:func:`foresift.control_estimates`); these come first.
    Raises:
        UnknownNameError: no strategy of that name.
        BudgetError: negative budget.
        MissingColumnError: the predictions lack a column that the strategy needs.
        NonFiniteError: a score is NaN or infinite; names the sample.
    """
    if not isinstance(predictions, Predictions):
        came = type(predictions).__name__  # type: ignore[unreachable]
        raise UsageError(
            f"expected Predictions, got {came}; make them with foresift.Predictions.from_arrays or predict"
        )
    chosen = parse(strategy) if isinstance(strategy, str) else strategy
    _check_several(split_stages(chosen.name), predictions)
    limits = Guards.of(guards)
    labeled = list(labeled)
    missing = fitted_passes(chosen, have=predictions.columns)
    predictions = with_fitted(predictions, missing, labeled=labeled)
    predictions = predictions if groups is None else with_groups(predictions, groups)
    needs = dict.fromkeys((*chosen.needs, *limits.needs))
    used = [name for name in needs if name not in LABEL_NEEDS and name in predictions.columns]
    return chosen.select(
        predictions,
        guards=limits,
        control=control,
        budget=budget,
        labeled=labeled,
        seed=seed,
        labels=labels,
        truth=truth,
        pool={"predictions": predictions.digest(used), "size": len(predictions)},
    )


def with_groups(predictions: Predictions, groups: Sequence[str]) -> Predictions:
    """The predictions with a column ``groups``.

    Args:
        groups: (n,) names in the order of the predictions, "" for a sample without a group.
    Raises:
        DataError: not one for each row.
    """
    names = np.array([str(name) for name in groups], dtype=np.str_)
    column = Column(values=frozen(names), producer=POOL)
    return replace(predictions, columns={**predictions.columns, "groups": column})


def score(predictions: Predictions, name: str, *, labels: Codes | None = None) -> Scores:
    """One value for each sample, in the order of the predictions; higher = more informative.

    Args:
        predictions: n rows.
        name: a score that ``foresift scores`` lists; those of an ensemble (``mutual-information``,
            ``vote-entropy``, ...) read the column ``members``, which ``Predictions.from_arrays`` makes of
            ``member_logits``.
        labels: (n,) class codes of the samples themselves, for scores that need ``truth``
            (``loss``, ``error-count``).
    Raises:
        UnknownNameError: no score of that name.
        MissingColumnError: the predictions lack a column that the score needs.
        NonFiniteError: a value is NaN or infinite; names the sample.
    """
    chosen = SCORES.get(name)
    _check_several([chosen.name], predictions)
    values = chosen(*(_column(predictions, need, labels) for need in chosen.needs))
    finite = np.isfinite(values)
    if not finite.all():
        sample = predictions.sample_ids[int(np.argmin(finite))]
        raise NonFiniteError(f"{chosen.name} of sample {str(sample)!r} is not a finite number")
    return Scores(sample_ids=predictions.sample_ids, values=values, name=chosen.name)


def _check_several(names: Iterable[str], predictions: Predictions) -> None:
    """Refuse to rank by disagreement where a single member has spoken.

    Raises:
        UsageError: names the score.
    """
    if "members" not in predictions.columns or Members(predictions.column("members")).counts.max(initial=0) != 1:
        return
    for name in (spec.partition(":")[0] for spec in names):
        if name in SCORES and SCORES.get(name).several:
            raise UsageError(
                f"one member agrees with itself about everything: {name} needs member_logits of two or more"
            )


def _column(predictions: Predictions, need: str, labels: Codes | None) -> npt.NDArray[Any]:
    if need != "truth":
        return predictions.column(need)
    if labels is None:
        raise UsageError("this score needs labels, the class codes of the samples themselves")
    return class_codes(labels, n=len(predictions), what="labels", of="rows in the predictions")


def check_budget(budget: int, unlabeled: int, *, allow_short: bool) -> None:
    """Refuse a budget that a command can't spend in full.

    Args:
        budget: labels to buy in one round.
        unlabeled: samples that are left to label.
        allow_short: whether less than the budget, or nothing at all, is fine.
    Raises:
        BudgetError: below 1 or above ``unlabeled``; names both numbers.
    """
    if budget < 0 or (not allow_short and not 1 <= budget <= unlabeled):
        hint = "" if budget < 0 else "; --allow-short takes what there is"
        raise BudgetError(f"budget {budget} must be within 1 .. {unlabeled}, the unlabeled samples{hint}")
