"""A fleet on paper: devices that see frames in drifting order, against random uploads and against hindsight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Values
from foresift.core.errors import UsageError
from foresift.lineage.uploads import Quota, UploadController

Rows: TypeAlias = npt.NDArray[np.intp]
_BLUR = 0.25
"""Standard deviation of a frame's time about its class's, as a share of the whole: classes come and go, overlapping."""
_UNEVEN = 0.4
"""Days are up to this share longer or shorter than the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDay:
    """One device's day: rows of the pool that each way of choosing uploads."""

    device: int
    day: int
    frames: int
    quota: int
    at_once: int
    """Of the fleet's rows, those that did not wait for the end of the day."""
    fleet: Rows
    random: Rows
    hindsight: Rows


def drifting_streams(
    codes: npt.NDArray[np.integer], *, devices: int, days: int, rng: np.random.Generator
) -> list[list[Rows]]:
    """For each device, for each day, the rows of its frames in the order of time; every row occurs once.

    Each device meets the classes in an order of its own, one after the other with overlap, so that what
    yesterday taught is wrong today. Lengths of days vary.

    Args:
        codes: (n,) class of each frame.
    Raises:
        UsageError: fewer frames than days of devices.
    """
    if len(codes) < devices * days:
        raise UsageError(f"{len(codes)} frames are too few for {devices} devices over {days} days")
    shares = np.array_split(rng.permutation(len(codes)), devices)
    return [_days(_drifting(share, codes, rng), days, rng) for share in shares]


def simulate(
    scores: Values, streams: Sequence[Sequence[Rows]], quota: Quota, *, rng: np.random.Generator
) -> list[SimulatedDay]:
    """What each device uploads, day by day; it knows nothing before its first day.

    Random draws as many rows of the day without replacement; hindsight takes the day's best.

    Args:
        scores: (n,) of all rows; finite.
    """
    outcomes: list[SimulatedDay] = []
    for device, days in enumerate(streams):
        controller = UploadController(quota=quota)
        for day, rows in enumerate(days):
            sent, at_once = _one_day(controller, scores, rows)
            count = min(quota.per_day, len(rows))
            best = np.argsort(-scores[rows], kind="stable")[:count]
            outcomes.append(
                SimulatedDay(
                    device=device,
                    day=day,
                    frames=len(rows),
                    quota=quota.per_day,
                    at_once=at_once,
                    fleet=sent,
                    random=rng.choice(rows, count, replace=False),
                    hindsight=rows[best],
                )
            )
    return outcomes


def _one_day(controller: UploadController, scores: Values, rows: Rows) -> tuple[Rows, int]:
    sent = [row for row in rows.tolist() if controller.offer(str(row), float(scores[row])).action == "send"]
    at_once = len(sent)
    sent += [int(key) for key in controller.close_day()]
    return np.array(sent, dtype=np.intp), at_once


def _drifting(rows: Rows, codes: npt.NDArray[np.integer], rng: np.random.Generator) -> Rows:
    """The rows in the order of time."""
    classes = int(codes.max(initial=0)) + 1
    place = rng.permutation(classes)[codes[rows]] / max(1, classes - 1)
    times = place + _BLUR * rng.standard_normal(len(rows))
    return rows[np.argsort(times, kind="stable")]


def _days(rows: Rows, days: int, rng: np.random.Generator) -> list[Rows]:
    """Consecutive parts of uneven lengths, none empty."""
    lengths = 1 + _UNEVEN * rng.uniform(-1, 1, days)
    ends = np.round(np.cumsum(lengths) / lengths.sum() * len(rows)).astype(np.intp)[:-1]
    least = np.arange(1, days)
    return np.split(rows, np.clip(ends, least, len(rows) - days + least))
