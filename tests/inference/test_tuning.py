"""Which engine a pass takes: the fastest that ranks as the reference does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from foresift.core.arrays import Logits, Pixels, Values
from foresift.core.protocols import Outputs
from foresift.inference.tuning import Choice, Trial, choose, measure

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=(200, 3)).astype(np.float32)
CLOSE = TRUTH + np.float32(1e-5)
WRONG = RNG.permutation(TRUTH)
LOGITS = {"reference": TRUTH, "close": CLOSE, "wrong": WRONG}


def first_logit(logits: Logits) -> Values:
    return logits[:, 0]


def decide(rates: dict[str, float], *, known: tuple[str, ...] = ("reference",)) -> tuple[Choice, list[str]]:
    """The choice, and for which engines the sample had to be run."""
    asked: list[str] = []

    def trial(name: str, whole: bool) -> Trial:
        return Trial(engine=name, batch=len(name), rate=rates[name], logits=LOGITS[name] if whole else None)

    def complete(name: str) -> Trial:
        asked.append(name)
        return trial(name, True)

    trials = {name: trial(name, name in known) for name in rates}
    choice, after = choose(trials, complete, reference="reference", score=first_logit, share=0.1)
    assert {name for name, t in after.items() if t.logits is not None} == {*known, *asked}
    return choice, asked


def test_the_fastest_that_ranks_alike_wins() -> None:
    choice, asked = decide({"reference": 1.0, "close": 3.0, "wrong": 2.0})
    assert (choice.engine, choice.batch) == ("close", 5)
    assert asked == ["close"]  # the slower one is not even run
    assert choice.checks["close"].passed
    assert choice.rates == {"reference": 1.0, "close": 3.0, "wrong": 2.0}


def test_a_faster_one_that_ranks_otherwise_is_passed_over() -> None:
    choice, asked = decide({"reference": 1.0, "close": 2.0, "wrong": 3.0})
    assert choice.engine == "close"
    assert asked == ["wrong", "close"]
    assert not choice.checks["wrong"].passed


def test_the_reference_is_taken_when_none_passes() -> None:
    choice, asked = decide({"reference": 1.0, "wrong": 3.0})
    assert choice.engine == "reference"
    assert asked == ["wrong"]
    assert choice.reason == "no faster engine ranks like the reference"


def test_the_reference_is_taken_when_none_is_faster() -> None:
    choice, asked = decide({"reference": 2.0, "close": 2.0, "wrong": 1.0})
    assert (choice.engine, choice.reason, asked) == ("reference", "fastest", [])


def test_known_logits_are_not_computed_again() -> None:
    choice, asked = decide({"reference": 1.0, "close": 3.0}, known=("reference", "close"))
    assert (choice.engine, asked) == ("close", [])


class Clocked:
    """An engine on a clock of its own: a call takes a fixed time and some for each image."""

    name, precision, version = "clocked", "f32", "1"

    def __init__(self, batch: int, tick: Callable[[float], None], per_call: float, per_image: float) -> None:
        self._batch, self._tick, self._seconds = batch, tick, per_call + batch * per_image
        self.seen: list[int] = []

    def __call__(self, batch: Pixels) -> Outputs:
        assert len(batch) == self._batch
        self._tick(self._seconds)
        flat = batch.reshape(len(batch), -1).astype(np.float32)
        return Outputs(flat[:, :3], flat[:, :2])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def tick(seconds: float) -> None:
        now[0] += seconds

    return tick


@pytest.mark.parametrize(
    ("per_call", "per_image", "best"),
    [
        (1.0, 0.001, 64),  # the overhead of a call dominates: large batches
        (0.0001, 0.01, 8),  # nothing to gain: the smallest stays, 3 % decide
    ],
)
def test_the_batch_size_with_the_highest_rate(
    per_call: float, per_image: float, best: int, clock: Callable[[float], None]
) -> None:
    sample = np.random.default_rng(0).integers(0, 256, (20, 2, 2, 3), dtype=np.uint8)
    trial = measure(
        "clocked",
        lambda name, batch: Clocked(batch, clock, per_call, per_image),
        sample,
        batches=[8, 16, 32, 64],
        whole=True,
        logits_of=lambda outputs: outputs.logits,
    )
    assert trial.batch == best
    assert trial.rate == pytest.approx(best / (per_call + best * per_image))
    assert trial.logits is not None
    np.testing.assert_array_equal(trial.logits, sample.reshape(20, -1)[:, :3])  # padding left out


def test_without_the_sample_no_logits(clock: Callable[[float], None]) -> None:
    sample = np.zeros((3, 2, 2, 3), dtype=np.uint8)
    trial = measure(
        "clocked",
        lambda name, batch: Clocked(batch, clock, 1.0, 0.1),
        sample,
        batches=[4],
        whole=False,
        logits_of=lambda outputs: outputs.logits,
    )
    assert trial.logits is None
