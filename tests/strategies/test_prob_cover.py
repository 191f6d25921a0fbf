"""ProbCover against the double loop of its definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection
from foresift.kernels import neighbours
from foresift.kernels.kmeans import kmeans
from foresift.strategies import parse
from foresift.strategies.prob_cover import ProbCover, pure_radius

Array = npt.NDArray[np.floating]


def embeddings(n: int, seed: int = 0, d: int = 3) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + 3 * rng.normal(size=(6, d))[rng.integers(0, 6, n)]).astype(np.float32)


def select(rows: Array, k: int, labeled: tuple[int, ...] = (), strategy: ProbCover | None = None) -> Selection:
    made = Predictions.from_arrays(np.arange(len(rows)), embeddings=rows)
    return (strategy or ProbCover()).select(made, budget=k, labeled=labeled)


def distances(rows: Array) -> Array:
    x = rows.astype(np.float64)
    return np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))


def naive(rows: Array, delta: float, k: int, labeled: tuple[int, ...] = ()) -> tuple[list[int], int]:
    """The picks, and how many of them cover something new."""
    apart = distances(rows)
    near = apart <= delta
    covered = near[list(labeled)].any(axis=0)
    picks: list[int] = []
    cover = 0
    for _ in range(k):
        free = [row for row in range(len(rows)) if row not in picks and row not in labeled]
        degrees = {row: int((near[row] & ~covered).sum()) for row in free}
        chosen = max(free, key=lambda row: (degrees[row], -row))
        if degrees[chosen] == 0:
            centres = [*labeled, *picks]
            chosen = max(free, key=lambda row: (apart[row, centres].min(), -row))
        else:
            cover += 1
        picks.append(chosen)
        covered |= near[chosen]
    return picks, cover


@pytest.mark.parametrize("labeled", [(), (3, 50, 51)])
@pytest.mark.parametrize("delta", [0.3, 1.5, 6.0, 100.0])
@pytest.mark.parametrize("edges", [neighbours.MAX_EDGES, 10])
def test_picks_are_those_of_the_double_loop(
    delta: float, labeled: tuple[int, ...], edges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "MAX_EDGES", edges)
    rows = embeddings(100)
    picks, cover = naive(rows, delta, 60, labeled)
    selection = select(rows, 60, labeled, ProbCover(delta=delta))
    assert selection.sample_ids.tolist() == picks
    assert selection.receipt.details["picks_that_cover"] == cover
    assert selection.receipt.details["then"] == ("farthest first" if cover < 60 else "")
    assert selection.scores is not None
    assert (np.diff(selection.scores) <= 0).all()
    assert (selection.scores > 0).sum() == cover


def test_greedy_reaches_its_share_of_the_optimum_and_coverage_never_falls() -> None:
    for seed in range(5):
        rows = embeddings(12, seed)
        near = distances(rows) <= 2
        best = max(near[list(subset)].any(axis=0).mean() for subset in combinations(range(12), 3))
        coverage = [select(rows, k, strategy=ProbCover(delta=2)).receipt.details["coverage"] for k in range(1, 13)]
        assert coverage[2] >= (1 - 1 / np.e) * best
        assert coverage == sorted(coverage)
        assert coverage[-1] == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_automatic_radius_is_the_largest_that_is_pure_enough(seed: int) -> None:
    rows = embeddings(200, seed)
    delta = pure_radius(RowMatrix(array=rows), 6, np.random.default_rng(5))
    groups = kmeans(RowMatrix(array=rows), 6, np.random.default_rng(5)).assignment
    apart = distances(rows)

    def purity(radius: float) -> float:
        return float(np.mean([len(set(groups[apart[row] <= radius])) == 1 for row in range(200)]))

    assert purity(delta) >= 0.95 > purity(delta * 1.002)


def test_the_receipt_says_the_radius_that_was_taken() -> None:
    rows = embeddings(80)
    details = select(rows, 5).receipt.details
    again = select(rows, 5, strategy=ProbCover(delta=details["delta"])).receipt.details
    assert again == details
    assert 0 < details["coverage"] <= 1


def test_scaling_all_embeddings_changes_nothing() -> None:
    rows = embeddings(100)
    assert select(4 * rows, 30).sample_ids.tolist() == select(rows, 30).sample_ids.tolist()


@pytest.mark.parametrize(
    "rows",
    [np.zeros((9, 3)), np.full((9, 3), 0.1), np.eye(9)[:, :1], np.ones((9, 1)), np.eye(9, 40), np.ones((1, 2))],
    ids=["zeros", "constant", "one other", "one number", "wide", "one row"],
)
@pytest.mark.parametrize("delta", [0.0, 1e-3, 1e30])
def test_degenerate_embeddings_give_every_candidate_once(rows: Array, delta: float) -> None:
    strategy = ProbCover(delta=delta)
    for dtype in (np.float16, np.float32):
        n = len(rows)
        assert sorted(select(rows.astype(dtype), n, strategy=strategy).sample_ids.tolist()) == list(range(n))


def test_everything_covered_by_labels_goes_farthest_first() -> None:
    rows = np.array([[0.0], [1], [5], [2], [9]], dtype=np.float32)
    selection = select(rows, 4, (0,), ProbCover(delta=100))
    assert selection.sample_ids.tolist() == [4, 2, 3, 1]
    assert selection.receipt.details["picks_that_cover"] == 0


def test_coverage_on_some_candidates_says_so() -> None:
    rows = embeddings(300)
    some = ProbCover(delta=1.5, references=100)
    selection = select(rows, 10, strategy=some)
    assert "100 of 300" in selection.receipt.approx
    near = distances(rows) <= 1.5
    exact = near[select(rows, 10, strategy=ProbCover(delta=1.5)).sample_ids].any(axis=0).mean()
    assert near[selection.sample_ids].any(axis=0).mean() >= 0.8 * exact
    assert select(rows, 4, strategy=some).sample_ids.tolist() == selection.sample_ids[:4].tolist()


@pytest.mark.parametrize("parameters", ["delta=-1.0", "clusters=0", "references=-1"])
def test_parameters_are_checked(parameters: str) -> None:
    with pytest.raises(UsageError, match="got"):
        parse(f"prob-cover:{parameters}")
