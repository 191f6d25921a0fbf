"""The laws of strategies: what ``select`` promises, whatever the strategy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foresift.core.arrays import as_ids
from foresift.core.digests import digest_array, digest_ids
from foresift.core.errors import BudgetError, NonFiniteError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Query, Receipt, Selection
from foresift.selection.base import Strategy, generator
from foresift.selection.candidates import LABEL_NEEDS
from foresift.selection.registry import parse
from foresift.testing.examples import (
    CLASSES,
    SIZE,
    MakePredictions,
    check_laws,
    class_codes_of,
    classes_in,
    extreme_logits,
    hold,
    in_order,
    make_predictions,
    shifted_pair,
    spoiled,
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A strategy and the pools to try it on."""

    strategy: Strategy
    make: MakePredictions

    @property
    def columns(self) -> list[str]:
        """The columns that the strategy needs, labels left out."""
        return [name for name in self.strategy.needs if name not in LABEL_NEEDS]

    def predictions(self, n: int = SIZE, *, classes: int = CLASSES) -> Predictions:
        """The same n rows at every call."""
        return self.make(np.random.default_rng(n), n, classes=classes)

    def arguments(self, predictions: Predictions, labeled: Iterable[Any] | None) -> dict[str, Any]:
        """Labeled ids, labels and truth as the strategy needs them; class codes depend on the id alone."""
        needs, classes = (*self.strategy.needs, *self.strategy.uses), classes_in(predictions)
        every_sixth = np.sort(predictions.sample_ids)[6::6].tolist() if "labels" in needs else []
        ids = every_sixth if labeled is None else list(labeled)
        return {
            "labeled": ids,
            "labels": class_codes_of(as_ids(ids), classes=classes) if "labels" in needs else None,
            "truth": class_codes_of(predictions.sample_ids, classes=classes) if "truth" in needs else None,
        }

    def select(
        self, predictions: Predictions, budget: int, *, labeled: Iterable[Any] | None = None, seed: int = 3
    ) -> Selection:
        """The strategy's selection."""
        arguments = self.arguments(predictions, labeled)
        return self.strategy.select(predictions, budget=budget, seed=seed, **arguments)

    def query(self, predictions: Predictions, budget: int) -> Query:
        """What the strategy would see."""
        return self.strategy.query(predictions, budget=budget, **self.arguments(predictions, None))

    def candidates(self, predictions: Predictions) -> int:
        """How many rows may be picked when nothing else is said."""
        return len(self.query(predictions, 0))


def check_strategy(
    strategy: Strategy | str,
    *,
    make_predictions: MakePredictions = make_predictions,
    laws: Iterable[str] | None = None,
) -> None:
    """Hold a strategy to the laws.

    Args:
        strategy: an instance (registered or not), or its spelling.
        make_predictions: builds pools with the columns that the strategy needs; by default
            ``logits`` and ``embeddings``.
        laws: names from ``STRATEGY_LAWS``; all of them by default.
    Raises:
        BrokenLawError: the first law that is broken.
    """
    instance = parse(strategy) if isinstance(strategy, str) else strategy
    check_laws(STRATEGY_LAWS, Case(strategy=instance, make=make_predictions), only=laws)


def exact_count(case: Case) -> None:
    """Exactly the budget's number of distinct candidates."""
    predictions = case.predictions()
    for budget in (1, 2, 7, case.candidates(predictions)):
        ids = case.select(predictions, budget).sample_ids
        hold(len(ids) == budget, "exact-count", f"{len(ids)} picks for a budget of {budget}")
        hold(len(np.unique(ids)) == budget, "exact-count", "a sample was picked twice")
        hold(bool(np.isin(ids, predictions.sample_ids).all()), "exact-count", "a pick is no candidate")


def values_of_every_candidate(case: Case) -> None:
    """Ranking values, if there are any, are n finite numbers."""
    query = case.query(case.predictions(), 5)
    values = case.strategy.values(query)
    if values is not None:
        hold(values.shape == (len(query),), "values", f"shape {values.shape} for {len(query)} candidates")
        hold(bool(np.isfinite(values).all()), "values", "not finite")


def determinism(case: Case) -> None:
    """The same seed gives the same ids and scores; nothing else is random."""
    predictions = case.predictions()
    first, second = (case.select(predictions, 7) for _ in range(2))
    hold(_same(first, second), "determinism", "two calls with the same seed differ")
    hold(first.receipt == second.receipt, "determinism", "two calls with the same seed differ in the receipt")


def thread_independence(case: Case) -> None:
    """One instance serves many threads; each gets what it would get alone."""
    predictions, seeds = case.predictions(), range(8)
    alone = [case.select(predictions, 7, seed=seed) for seed in seeds]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda seed: case.select(predictions, 7, seed=seed), seeds))
    same = all(map(_same, alone, together))
    hold(same, "thread-independence", "another result in a thread than alone")


def permutation(case: Case) -> None:
    """The order of rows changes nothing."""
    predictions = case.predictions()
    expected = case.select(predictions, 7)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(predictions))
        got = case.select(predictions.take(order), 7)
        hold(_same(expected, got), "permutation", "rows in another order give another selection")


def inputs_unmodified(case: Case) -> None:
    """The caller's arrays stay as they were."""
    predictions = in_order(case.predictions())
    before = {name: digest_array(predictions.column(name)) for name in predictions.columns}
    case.select(predictions, 7)
    changed = [name for name, digest in before.items() if digest != digest_array(predictions.column(name))]
    hold(not changed, "inputs-unmodified", f"{', '.join(changed)} changed")


def never_labeled(case: Case) -> None:
    """A labeled sample is never picked; labeled ids that the predictions lack do no harm."""
    predictions = case.predictions()
    ids = np.sort(predictions.sample_ids)
    unknown = "not in the predictions" if ids.dtype.kind == "U" else int(ids[-1]) + 1
    labeled = [*ids[1::3].tolist(), unknown]
    ids = case.select(predictions, SIZE, labeled=labeled).sample_ids
    hold(not np.isin(ids, labeled).any(), "never-labeled", "a labeled sample was picked")
    hold(len(ids) == SIZE + 1 - len(labeled), "never-labeled", "not every unlabeled sample was picked")


def budget_zero(case: Case) -> None:
    """Budget 0 gives an empty selection."""
    selection = case.select(case.predictions(), 0)
    hold(len(selection) == 0, "budget-zero", f"{len(selection)} picks for a budget of 0")
    hold(not selection.receipt.short, "budget-zero", "the receipt says short")


def negative_budget(case: Case) -> None:
    """A negative budget is refused."""
    try:
        case.select(case.predictions(), -1)
    except BudgetError:
        return
    hold(False, "negative-budget", "a budget of -1 raised no BudgetError")


def budget_above_pool(case: Case) -> None:
    """A budget above the number of candidates gives all of them, and the receipt says so."""
    predictions = case.predictions()
    n = case.candidates(predictions)
    exact, above = case.select(predictions, n), case.select(predictions, n + 5)
    hold(len(above) == n, "budget-above-pool", f"{len(above)} of {n} candidates")
    hold(np.array_equal(exact.sample_ids, above.sample_ids), "budget-above-pool", "another order")
    shorts = (exact.receipt.short, above.receipt.short)
    hold(shorts == (False, True), "budget-above-pool", f"short is {shorts}, expected (False, True)")


def one_sample(case: Case) -> None:
    """A pool of one sample works."""
    selection = case.select(case.predictions(1), 1)
    hold(len(selection) == 1, "one-sample", f"{len(selection)} picks from one sample")


def one_class(case: Case) -> None:
    """One class works, or is refused with a UsageError."""
    try:
        selection = case.select(case.predictions(classes=1), 5)
    except UsageError:
        return
    hold(len(selection) == 5, "one-class", f"{len(selection)} picks for a budget of 5")


def extreme_values(case: Case) -> None:
    """Logits of +-10,000 neither overflow nor turn into NaN."""
    if "logits" not in case.columns:
        return
    predictions = extreme_logits(np.random.default_rng(0), case.predictions())
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        selection = case.select(predictions, 7)
        values = case.strategy.values(case.query(predictions, 7))
    hold(len(selection) == 7, "extreme-logits", f"{len(selection)} picks for a budget of 7")
    hold(values is None or bool(np.isfinite(values).all()), "extreme-logits", "values are not finite")


def non_finite(case: Case) -> None:
    """A value that is NaN is an error that names the sample, never a rank.

    A field of a structured column may also be one that the strategy does not read at all.
    """
    query = case.query(case.predictions(), 7)
    if case.strategy.values(query) is None:
        return
    for name in case.columns:
        for fieldname, column in spoiled(query.column(name), row=3).items():
            unread = _ranking(case.strategy, query) if fieldname else None
            bad = replace(query, columns={**query.columns, name: column})
            _refuses(case.strategy, bad, sample=str(query.ids[3]), unread=unread)


def _refuses(strategy: Strategy, query: Query, *, sample: str, unread: list[Any] | None) -> None:
    """``unread``: what is given if the NaN lies in a field that is not read; None if every NaN is."""
    try:
        ranking = _ranking(strategy, query)
    except NonFiniteError as error:
        hold(sample in str(error), "non-finite", f"the error does not name sample {sample}: {error}")
    else:
        hold(ranking == unread, "non-finite", "NaN in a column raised no NonFiniteError")


def _ranking(strategy: Strategy, query: Query) -> list[Any]:
    """The picks and every candidate's value."""
    rows = strategy.pick(query, generator(3, strategy.name, labeled=query.labeled_ids)).rows
    values = strategy.values(query)
    return [rows.tolist(), None if values is None else values.tolist()]


def constant_shift(case: Case) -> None:
    """Adding a constant to a row's logits changes nothing, where nothing but logits is needed."""
    if case.columns != ["logits"]:
        return
    plain, shifted = shifted_pair(np.random.default_rng(0), case.predictions())
    same = np.array_equal(case.select(plain, 7).sample_ids, case.select(shifted, 7).sample_ids)
    hold(same, "constant-shift", "a constant added to the logits of a row changed the selection")


def ties_by_id(case: Case) -> None:
    """Equal values go in order of id, where candidates are ranked."""
    predictions = case.predictions()
    query = case.query(predictions, 7)
    if not case.columns or case.strategy.values(query) is None:
        return
    columns = {name: np.repeat(np.array(query.column(name))[:1], len(query), axis=0) for name in case.columns}
    truth = None if query.truth is None else np.zeros_like(query.truth)
    equal = replace(query, columns=columns, truth=truth)
    rows = case.strategy.pick(equal, generator(3, case.strategy.name, labeled=equal.labeled_ids)).rows
    hold(rows.tolist() == list(range(7)), "ties-by-id", f"equal values were picked in order {rows.tolist()}")


def prefix(case: Case) -> None:
    """A larger budget extends a smaller one, where the strategy says so."""
    if not case.strategy.prefix:
        return
    predictions = case.predictions()
    longest = case.select(predictions, case.candidates(predictions)).sample_ids
    for budget in (1, 2, 7, 11):
        ids = case.select(predictions, budget).sample_ids
        hold(np.array_equal(ids, longest[:budget]), "prefix", f"budget {budget} is no prefix of all picks")


def replay(case: Case) -> None:
    """The receipt survives JSON and leads to the same ids."""
    predictions = case.predictions()
    selection = case.select(predictions, 7)
    receipt = Receipt.from_dict(json.loads(json.dumps(selection.receipt.to_dict(), allow_nan=False)))
    hold(receipt.id == selection.receipt.id, "replay", "the receipt changes on its way through JSON")
    again = type(case.strategy).from_spelling(receipt.strategy)
    hold(again == case.strategy, "replay", f"{receipt.strategy!r} does not spell {case.strategy}")
    replayed = replace(case, strategy=again).select(predictions, receipt.budget, seed=receipt.seed)
    same = digest_ids(replayed.sample_ids) == receipt.selected
    hold(same, "replay", "the receipt leads to other ids")


def _same(a: Selection, b: Selection) -> bool:
    if a.scores is None or b.scores is None:
        return a.scores is b.scores and np.array_equal(a.sample_ids, b.sample_ids)
    return np.array_equal(a.sample_ids, b.sample_ids) and np.array_equal(a.scores, b.scores)


STRATEGY_LAWS: Mapping[str, Callable[[Case], None]] = {
    "exact-count": exact_count,
    "values": values_of_every_candidate,
    "inputs-unmodified": inputs_unmodified,
    "determinism": determinism,
    "thread-independence": thread_independence,
    "permutation": permutation,
    "never-labeled": never_labeled,
    "budget-zero": budget_zero,
    "negative-budget": negative_budget,
    "budget-above-pool": budget_above_pool,
    "one-sample": one_sample,
    "one-class": one_class,
    "extreme-logits": extreme_values,
    "non-finite": non_finite,
    "constant-shift": constant_shift,
    "ties-by-id": ties_by_id,
    "prefix": prefix,
    "replay": replay,
}
"""Laws by name, from causes to consequences."""
