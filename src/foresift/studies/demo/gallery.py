"""The most and the least informative images of a pool, as one model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foresift.app.selecting.arrays import score
from foresift.core.predictions import Predictions
from foresift.core.samples import Pool
from foresift.scores import SCORES
from foresift.strategies import Strategy

SHOWN = 12
"""Images on each half of the contact sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image of the contact sheet."""

    id: str
    uri: str
    """Within the demo's folder."""
    score: float
    predicted: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The most and the least informative unlabeled images, as the last small generation of seed 0 saw them."""

    score: str
    summary: str
    most: Sequence[Shown]
    least: Sequence[Shown]


def gallery_of(view: Predictions, pool: Pool, classes: Sequence[str], *, name: str) -> Gallery:
    """The extremes of a view by a score.

    Args:
        view: logits of n samples of ``pool``, which carries their labels.
        classes: c names, in the order of the logits.
        name: the score.
    """
    values = score(view, name).values
    order = np.argsort(-values, kind="stable")
    count = min(SHOWN, len(order) // 2)
    most, least = (
        [_shown(view, int(row), float(values[row]), pool, classes) for row in rows]
        for rows in (order[:count], order[::-1][:count])
    )
    return Gallery(score=name, summary=SCORES.get(name).summary, most=most, least=least)


def ranking(strategy: Strategy) -> str:
    """The score that the strategy ranks by; margin for one that ranks by no score of the logits."""
    named = strategy.name in SCORES and SCORES.get(strategy.name).needs == ("logits",)
    return strategy.name if named else "margin"


def _shown(view: Predictions, row: int, value: float, pool: Pool, classes: Sequence[str]) -> Shown:
    sample = pool[int(pool.rows_of(view.sample_ids[row : row + 1])[0])]
    predicted = classes[int(view.column("logits")[row].argmax())]
    uri = Path("digits", "train", *Path(sample.uris[0]).parts[-2:]).as_posix()
    return Shown(id=str(sample.id), uri=uri, score=value, predicted=predicted, label=str(sample.label))
