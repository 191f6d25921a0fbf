"""Engines that somebody names: each is held to the reference before it ranks a pool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foresift.app.models.engine_choice import Bench, ScoreInUse, choose_engine, choose_unranked
from foresift.core.arrays import Logits, Pixels
from foresift.core.errors import ModelError, UnknownNameError, UsageError
from foresift.core.protocols import Outputs
from foresift.engines import REFERENCE
from foresift.inference.tuning import Choice

ADDRESS = "triton://host:8000/m"
LOCAL = "torch-bf16"
BOTH = pytest.mark.parametrize("engine", [LOCAL, ADDRESS])


class Fixed:
    """An engine whose logits follow from the first pixel of an image."""

    name, precision, version = "fixed", "f32", "1"

    def __init__(self, asked: list[str], name: str, sign: float) -> None:
        self._asked, self._name, self._sign = asked, name, sign

    def __call__(self, batch: Pixels) -> Outputs:
        self._asked.append(self._name)
        level = self._sign * batch[:, 0, 0, :1].astype(np.float32) / 50
        return Outputs(np.concatenate([level, np.zeros_like(level)], axis=1), level)


class Case:
    """A pool of 100 images, an engine that may rank the wrong way round, and what was asked of whom."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.left, self.slope, self.readable = folder, [], 100, 1.0, 100
        self.digests = np.array([f"{row:040x}" for row in range(100)])

    def bench(self) -> Bench:
        return Bench(
            record=self.folder / "choice.npz",
            size=4,
            digests=self.digests,
            missing=lambda _engine, _batch: self.digests[: self.left],
            sample=self._sample,
            make=lambda name, _batch: Fixed(self.asked, name, 1.0 if name == REFERENCE else self.slope),
            logits_of=_logits,
        )

    def choose(self, engine: str) -> Choice:
        self.asked.clear()
        return choose_engine(engine, self.bench(), score=ScoreInUse())

    def _sample(self, digests: np.ndarray, count: int) -> tuple[np.ndarray, Pixels]:
        kept = digests[:count][: self.readable]
        pixels = np.zeros((len(kept), 4, 4, 3), dtype=np.uint8)
        pixels[:, 0, 0, 0] = [int(one, 16) % 256 for one in kept]
        return kept, pixels


def _logits(outputs: Outputs) -> Logits:
    return outputs.logits


@BOTH
def test_another_engine_is_used_after_a_check_that_the_receipt_tells(tmp_path: Path, engine: str) -> None:
    case = Case(tmp_path)
    choice = case.choose(engine)
    assert choice.engine == engine
    assert choice.checks[engine].passed
    assert choice.checks[engine].n == 100
    assert {REFERENCE, engine} == set(case.asked)


def test_the_reference_needs_no_check(tmp_path: Path) -> None:
    case = Case(tmp_path)
    choice = case.choose(REFERENCE)
    assert (choice.engine, dict(choice.checks), case.asked) == (REFERENCE, {}, [])


@BOTH
def test_one_that_ranks_otherwise_is_refused_with_the_figures(tmp_path: Path, engine: str) -> None:
    case = Case(tmp_path)
    case.slope = 0.0
    with pytest.raises(
        ModelError, match=r"100 images .*rank correlation 0\.000, expected 0\.99; overlap of the top 32"
    ):
        case.choose(engine)


def test_less_may_be_asked_of_an_engine(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.slope = 0.0
    with pytest.raises(ModelError) as refused:
        case.choose(LOCAL)
    spelled = str(refused.value).rpartition("--engine ")[2]
    choice = case.choose(spelled)
    assert choice.engine == LOCAL
    assert choice.checks[LOCAL].expected.correlation == 0.0
    with pytest.raises(ModelError):
        case.choose(LOCAL)  # what was asked once is not asked for ever


def test_what_a_local_engine_said_is_kept(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.choose(LOCAL)
    assert case.choose(LOCAL).checks[LOCAL].passed
    assert case.asked == []


def test_a_server_is_asked_again_whenever_something_is_to_be_inferred(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.choose(ADDRESS)
    case.choose(ADDRESS)
    assert set(case.asked) == {ADDRESS}  # the reference's logits are kept
    case.left = 0
    case.choose(ADDRESS)
    assert case.asked == []
    case.left = 1
    case.slope = 0.0  # another model by now
    with pytest.raises(ModelError, match=r"rank correlation 0\.000, expected 0\.99"):
        case.choose(ADDRESS)


@BOTH
def test_a_sample_that_is_gone_is_drawn_afresh(tmp_path: Path, engine: str) -> None:
    case = Case(tmp_path)
    case.choose(engine)
    case.readable, case.digests = 90, case.digests[5:]
    assert case.choose(engine).engine == engine


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        ("torch-f23", UnknownNameError, "torch-f32"),
        (f"{LOCAL}:corelation=0.9", UsageError, "takes: correlation, overlap"),
        (f"{LOCAL}:overlap=2", UsageError, "within 0 .. 1"),
        (f"{LOCAL}:overlap=much", UsageError, "must be float"),
    ],
)
def test_a_wrong_spelling_is_told(tmp_path: Path, asked: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        Case(tmp_path).choose(asked)


def test_without_a_ranking_a_local_engine_is_taken_at_its_word_and_a_server_is_not(tmp_path: Path) -> None:
    case = Case(tmp_path)
    choice = choose_unranked(LOCAL, case.bench())
    assert (choice.engine, dict(choice.checks)) == (LOCAL, {})
    assert choose_unranked("auto", case.bench()).engine == REFERENCE
    with pytest.raises(ModelError, match="embeddings alone"):
        choose_unranked(ADDRESS, case.bench())
    assert case.asked == []


@BOTH
def test_a_check_on_few_images_is_made_again_when_the_pool_has_grown(tmp_path: Path, engine: str) -> None:
    case = Case(tmp_path)
    case.digests = case.digests[:5]
    assert case.choose(engine).checks[engine].overlap == 1.0  # five of five
    case.digests, case.slope = Case(tmp_path).digests, 0.0
    with pytest.raises(ModelError, match="ranks 100 images"):
        case.choose(engine)
    assert {REFERENCE, engine} == set(case.asked)


@BOTH
def test_it_stays_when_the_sample_is_as_large_as_it_gets(tmp_path: Path, engine: str) -> None:
    case = Case(tmp_path)
    case.readable, case.digests = 512, np.array([f"{row:040x}" for row in range(512)])
    case.choose(engine)
    case.left, case.digests = 0, np.array([f"{row:040x}" for row in range(600)])
    assert case.choose(engine).checks[engine].n == 512
    assert case.asked == []


def test_broken_images_do_not_make_it_be_checked_every_time(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.readable = 90
    case.choose(LOCAL)
    assert case.choose(LOCAL).checks[LOCAL].n == 90
    assert case.asked == []
