"""Choosing engine and batch size for a pool: measured, checked against the reference, stored.

The choice is made once per pool and pass. It keeps the logits of the sample under every
engine that was measured, so that another score or budget is checked later without any
inference.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from foresift.core.arrays import Logits, Pixels, Values
from foresift.core.protocols import Engine, Outputs
from foresift.inference.rank_check import ALIKE, Alike, RankCheck, rank_check

SAMPLE = 512
"""Images of the pool that every engine is compared on."""
SMALL_JOB_S = 20.0
"""A job that the reference finishes in this time is not worth a comparison."""
TRIAL_S = 0.3
"""Seconds that one engine is timed for at one batch size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One engine, measured."""

    engine: str
    batch: int
    """The batch size with the highest rate."""
    rate: float
    """Images a second at that batch size, decoding left out."""
    logits: Logits | None = None
    """(m, c) of the sample, where the engine was run on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The engine a pass uses, and why."""

    engine: str
    batch: int
    reason: str
    checks: Mapping[str, RankCheck] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    """Of an engine of whole numbers: how many images it was calibrated on, and which."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a receipt."""
        plain = {**asdict(self), "checks": {name: check.to_dict() for name, check in self.checks.items()}}
        return plain if self.calibration else {k: v for k, v in plain.items() if k != "calibration"}


def measure(
    name: str,
    make: Callable[[str, int], Engine],
    sample: Pixels,
    *,
    batches: Sequence[int],
    whole: bool,
    logits_of: Callable[[Outputs], Logits],
    trial_s: float = TRIAL_S,
) -> Trial:
    """Rate of an engine at its best batch size; with ``whole``, its logits of the sample too.

    A larger batch is preferred only if it is 3 % faster.
    """
    best: tuple[float, int, Engine] | None = None
    for batch in batches:
        engine = make(name, batch)
        rate = _rate(engine, sample, batch, trial_s)
        if best is None or rate > best[0] * 1.03:
            best = (rate, batch, engine)
        elif rate < best[0] * 0.5:
            break
    assert best is not None  # noqa: S101 - batches is never empty
    rate, batch, engine = best
    logits = _logits(engine, sample, batch, logits_of) if whole else None
    return Trial(engine=name, batch=batch, rate=rate, logits=logits)


def choose(
    trials: Mapping[str, Trial],
    complete: Callable[[str], Trial],
    *,
    reference: str,
    score: Callable[[Logits], Values],
    share: float,
    alike: Alike = ALIKE,
) -> tuple[Choice, dict[str, Trial]]:
    """The fastest engine that ranks the sample as the reference does.

    Args:
        trials: one for every engine in play, the reference's among them, with its logits.
        complete: runs an engine on the sample; called only for engines that are worth it.
        score: (m, c) logits to (m,) values: the score in use.
        share: the share of the pool that will be picked.
        alike: how alike it must rank.
    Returns:
        The choice, and the trials with all logits that are known now.
    """
    known = dict(trials)
    truth = known[reference].logits
    assert truth is not None  # noqa: S101 - stated above
    expected = score(truth)
    checks: dict[str, RankCheck] = {}
    for trial in sorted(known.values(), key=lambda t: -t.rate):
        if trial.rate <= known[reference].rate or trial.engine == reference:
            break
        done = trial if trial.logits is not None else complete(trial.engine)
        known[trial.engine] = done
        assert done.logits is not None  # noqa: S101 - complete() runs the sample
        checks[trial.engine] = check = rank_check(expected, score(done.logits), share=share, expected=alike)
        if check.passed:
            return _choice(done, "fastest that ranks like the reference", checks, known), known
    reason = "no faster engine ranks like the reference" if checks else "fastest"
    return _choice(known[reference], reason, checks, known), known


def _choice(trial: Trial, reason: str, checks: Mapping[str, RankCheck], trials: Mapping[str, Trial]) -> Choice:
    rates = {name: round(t.rate, 2) for name, t in trials.items()}
    return Choice(engine=trial.engine, batch=trial.batch, reason=reason, checks=dict(checks), rates=rates)


def _rate(engine: Engine, sample: Pixels, batch: int, trial_s: float) -> float:
    pixels = _padded(sample[:batch], batch)
    engine(pixels)  # the first call allocates
    start, runs = time.perf_counter(), 0
    while runs < 1 or time.perf_counter() - start < trial_s:
        engine(pixels)
        runs += 1
    return runs * batch / (time.perf_counter() - start)


def _logits(engine: Engine, sample: Pixels, batch: int, logits_of: Callable[[Outputs], Logits]) -> Logits:
    parts = [
        logits_of(engine(_padded(sample[start : start + batch], batch)))[: len(sample) - start]
        for start in range(0, len(sample), batch)
    ]
    return np.concatenate(parts)


def _padded(pixels: Pixels, batch: int) -> Pixels:
    if len(pixels) == batch:
        return np.ascontiguousarray(pixels)
    padded = np.zeros((batch, *pixels.shape[1:]), dtype=np.uint8)
    padded[: len(pixels)] = pixels
    return padded
