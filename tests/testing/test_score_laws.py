"""Every law catches the score that breaks it, and is the one that is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from foresift.core.errors import ContractError
from foresift.scores import Score
from foresift.scores.ensemble import mutual_information
from foresift.scores.uncertainty import entropy
from foresift.testing import SCORE_LAWS, BrokenLawError, check_score

Array = np.ndarray[Any, Any]


def whole_numbers(logits: Array) -> Array:
    return logits.argmax(axis=1)


def matrix(logits: Array) -> Array:
    return np.ones((len(logits), 2))


def overwriting(logits: Array) -> Array:
    logits -= logits.max(axis=1, keepdims=True)
    return entropy.formula(logits)


def relative(logits: Array) -> Array:
    return entropy.formula(logits) - entropy.formula(logits).max(initial=0)


def half(logits: Array) -> Array:
    return entropy.formula(logits) if logits.dtype != np.float16 else np.log(np.exp(logits).sum(axis=1))


def per_class(logits: Array) -> Array:
    return entropy.formula(logits) / np.float32(np.log(logits.shape[1]) or np.nan)


def naive_entropy(logits: Array) -> Array:
    gaps = logits.astype(np.float32) - logits.max(axis=1, keepdims=True).astype(np.float32)
    terms = np.exp(gaps)
    probs = terms / np.array([row.sum() for row in terms])[:, None] if len(terms) else terms
    return -np.array([(row * np.log(row)).sum() for row in probs], dtype=np.float32)


def laundering(logits: Array) -> Array:
    return np.nan_to_num(entropy.formula(logits))


def largest(logits: Array) -> Array:
    return logits.max(axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("formula", "law"),
    [
        (whole_numbers, "shape"),
        (overwriting, "inputs-unmodified"),
        (relative, "row-independence"),
        (half, "half-precision"),
        (per_class, "one-class"),
        (naive_entropy, "extreme-logits"),
        (laundering, "non-finite"),
        (largest, "constant-shift"),
    ],
)
def test_a_broken_score_is_caught_by_the_law_it_breaks(formula: Callable[..., Array], law: str) -> None:
    broken = Score(name="broken", needs=("logits",), formula=formula)
    for laws in ([law], None):
        with pytest.raises(BrokenLawError) as caught:
            check_score(broken, laws=laws)
        assert caught.value.law == law


def test_these_are_all_the_laws() -> None:
    assert list(SCORE_LAWS) == [
        "inputs-unmodified",
        "shape",
        "row-independence",
        "half-precision",
        "one-class",
        "extreme-logits",
        "non-finite",
        "constant-shift",
    ]


def test_a_sound_score_breaks_no_law() -> None:
    check_score("entropy")
    check_score(entropy)


def test_a_formula_of_the_wrong_shape_is_named() -> None:
    broken = Score(name="broken", needs=("logits",), formula=matrix)
    with pytest.raises(ContractError, match=r"score 'broken' must give one value a row, got \(1, 2\)"):
        broken(np.zeros((3, 4)))


def mending(members: Array) -> Array:
    return np.nan_to_num(mutual_information.formula(members))


def spreading(members: Array) -> Array:
    return mutual_information.formula(members) + 0 * members["scatter"].sum()


@pytest.mark.parametrize("formula", [mending, spreading])
def test_nan_in_one_field_of_a_structured_column_is_found(formula: Callable[..., Array]) -> None:
    with pytest.raises(BrokenLawError) as caught:
        check_score(Score(name="broken", needs=("members",), formula=formula), laws=["non-finite"])
    assert caught.value.law == "non-finite"
    check_score("variation-ratios", laws=["non-finite"])  # reads votes only
