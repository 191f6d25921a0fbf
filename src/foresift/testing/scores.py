"""The laws of scores: one finite value a sample, of that sample alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Values
from foresift.core.digests import digest_array
from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.scores.registry import SCORES, Score
from foresift.testing.examples import (
    CLASSES,
    SIZE,
    MakePredictions,
    check_laws,
    class_codes_of,
    classes_in,
    extreme_logits,
    hold,
    make_predictions,
    shifted_pair,
    spoiled,
)

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A score and the samples to try it on."""

    score: Score
    make: MakePredictions

    def predictions(self, n: int = SIZE, *, classes: int = CLASSES) -> Predictions:
        """The same n rows at every call."""
        return self.make(np.random.default_rng(n), n, classes=classes)

    def columns(self, predictions: Predictions) -> list[Array]:
        """The score's columns; class codes depend on the id alone."""
        codes = class_codes_of(predictions.sample_ids, classes=classes_in(predictions))
        return [codes if name == "truth" else predictions.column(name) for name in self.score.needs]

    def values(self, predictions: Predictions) -> Values:
        """The score's values."""
        return self.score(*self.columns(predictions))


def check_score(
    score: Score | str,
    *,
    make_predictions: MakePredictions = make_predictions,
    laws: Iterable[str] | None = None,
) -> None:
    """Hold a score to the laws.

    Args:
        score: a score (registered or not), or its name.
        make_predictions: builds samples with the columns that the score needs; by default
            ``logits`` and ``embeddings``.
        laws: names from ``SCORE_LAWS``; all of them by default.
    Raises:
        BrokenLawError: the first law that is broken.
    """
    entry = SCORES.get(score) if isinstance(score, str) else score
    check_laws(SCORE_LAWS, Case(score=entry, make=make_predictions), only=laws)


def shape(case: Case) -> None:
    """(n,) finite floating-point values, for no samples too."""
    values = case.values(case.predictions())
    hold(values.shape == (SIZE,), "shape", f"shape {values.shape} for {SIZE} samples")
    hold(values.dtype.kind == "f" and bool(np.isfinite(values).all()), "shape", "not finite numbers")
    none = case.score(*(column[:0] for column in case.columns(case.predictions())))
    hold(none.shape == (0,), "shape", f"shape {none.shape} for no samples")


def inputs_unmodified(case: Case) -> None:
    """The caller's arrays stay as they were."""
    columns = [np.array(column) for column in case.columns(case.predictions())]
    before = [digest_array(column) for column in columns]
    case.score(*columns)
    hold(before == [digest_array(column) for column in columns], "inputs-unmodified", "a column changed")


def row_independence(case: Case) -> None:
    """A sample's value depends on that sample alone, bit for bit: not on the rows beside it."""
    for classes in (2, CLASSES, 50):
        columns = case.columns(case.predictions(classes=classes))
        together = case.score(*columns)
        alone = [case.score(*(column[i : i + 1] for column in columns))[0] for i in range(SIZE)]
        why = f"another value alone than among others ({classes} classes)"
        hold(np.array_equal(together, np.array(alone)), "row-independence", why)


def half_precision(case: Case) -> None:
    """float16 columns give what the same numbers give in float32."""
    given = case.columns(case.predictions())
    half = [column.astype(np.float16) if column.dtype.kind == "f" else column for column in given]
    full = [column.astype(np.float32) if column.dtype == np.float16 else column for column in half]
    hold(np.array_equal(case.score(*half), case.score(*full)), "half-precision", "float16 is worked otherwise")


def one_class(case: Case) -> None:
    """One class works, or is refused with a UsageError."""
    try:
        values = case.values(case.predictions(classes=1))
    except UsageError:
        return
    hold(bool(np.isfinite(values).all()), "one-class", "not finite")


def extreme_values(case: Case) -> None:
    """Logits of +-10,000 neither overflow nor turn into NaN."""
    if "logits" not in case.score.needs:
        return
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        values = case.values(extreme_logits(np.random.default_rng(0), case.predictions()))
    hold(bool(np.isfinite(values).all()), "extreme-logits", "not finite")


def non_finite(case: Case) -> None:
    """NaN in a sample's columns shows in its value, so that it can be refused, and in no other's.

    A field of a structured column may also be one that the score does not read at all.
    """
    given = case.columns(case.predictions())
    clean = case.score(*given)
    for position, column in enumerate(given):
        for name, copy in spoiled(column, row=3).items():
            values = case.score(*given[:position], copy, *given[position + 1 :])
            shows = np.array_equal(np.isfinite(values), np.arange(SIZE) != 3)
            unread = bool(name) and np.array_equal(values, clean)
            hold(shows or unread, "non-finite", "NaN was hidden or spread")


def constant_shift(case: Case) -> None:
    """Adding a constant to a row's logits changes nothing."""
    if "logits" not in case.score.needs:
        return
    plain, shifted = shifted_pair(np.random.default_rng(0), case.predictions())
    same = np.allclose(case.values(plain), case.values(shifted), rtol=1e-5, atol=1e-6)
    hold(same, "constant-shift", "a constant added to the logits of a row changed its value")


SCORE_LAWS: Mapping[str, Callable[[Case], None]] = {
    "inputs-unmodified": inputs_unmodified,
    "shape": shape,
    "row-independence": row_independence,
    "half-precision": half_precision,
    "one-class": one_class,
    "extreme-logits": extreme_values,
    "non-finite": non_finite,
    "constant-shift": constant_shift,
}
"""Laws by name, from causes to consequences."""
