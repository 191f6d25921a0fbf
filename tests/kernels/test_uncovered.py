"""Stored pairs against computed similarities, and both against plain greedy in double precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dense_coverage import naive_greedy
from foresift.core.matrices import RowMatrix
from foresift.kernels import similarities, uncovered
from foresift.kernels.coverage import Coverage
from foresift.kernels.greedy import Objective, lazy_greedy
from foresift.kernels.similarities import Block, ComputedSimilarity, Cosine, Gaussian, Kernel, Prepared
from foresift.kernels.uncovered import UncoveredPairs, uncovered_pairs, uncovered_pairs_estimate

Covered = npt.NDArray[np.float32]
GAUSSIAN = Gaussian(centre=np.zeros(4, dtype=np.float32), scale=2)
KERNELS = pytest.mark.parametrize("kernel", [Cosine(), GAUSSIAN], ids=["cosine", "gaussian"])


def rows_of(kind: str, n: int = 48) -> npt.NDArray[np.float32]:
    """Points on a grid, so that squared distances, and with them ties, are exact in float32."""
    rng = np.random.default_rng(0)
    random = rng.normal(size=(n, 4))
    made = {
        "random": random,
        "clustered": random / 5 + 3 * rng.normal(size=(5, 4))[rng.integers(0, 5, n)],
        "duplicated": np.tile(random[: n // 4], (4, 1)),
        "constant": np.full((n, 4), 0.6),
        "zeros": np.zeros((n, 4)),
    }[kind]
    return (np.round(8 * made) / 8).astype(np.float32)


KINDS = pytest.mark.parametrize("kind", ["random", "clustered", "duplicated", "constant", "zeros"])
LABELED = pytest.mark.parametrize("labeled", [0, 7])


def computed(rows: npt.NDArray[np.float32], kernel: Kernel) -> ComputedSimilarity:
    ready = Prepared.of(RowMatrix(array=rows), kernel)
    return ComputedSimilarity(candidates=ready, references=ready)


def covered_by(similarity: ComputedSimilarity, rows: npt.NDArray[np.float32]) -> Covered:
    covered = np.zeros(similarity.n_references, dtype=np.float32)
    similarity.cover_by(Prepared.of(RowMatrix(array=rows), similarity.candidates.kernel), covered)
    return covered


def in_double(
    kernel: Kernel, rows: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    x, y = rows.astype(float), others.astype(float)
    if isinstance(kernel, Gaussian):
        return np.exp(-((x[:, None] - y) ** 2).sum(axis=2) / kernel.scale**2)
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    return np.maximum(np.divide(x @ y.T, lengths, out=np.zeros(lengths.shape), where=lengths > 0), 0)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (similarities, uncovered):
        monkeypatch.setattr(module, "REFERENCES", 23)
        monkeypatch.setattr(module, "CANDIDATES", 11)


def storing_begins(at: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let pairs be stored at a given try, with a try at every chance; gives a list that says how many there were."""
    tries = list[int]()

    def estimate(similarity: ComputedSimilarity, covered: Covered) -> float:
        tries.append(len(tries))
        return 0.0 if len(tries) > at else np.inf

    monkeypatch.setattr(uncovered, "PATIENCE", 0)
    monkeypatch.setattr(uncovered, "uncovered_pairs_estimate", estimate)
    return tries


@KERNELS
@KINDS
@LABELED
def test_picks_are_those_of_naive_greedy_whenever_storing_begins(
    kernel: Kernel, kind: str, labeled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, known = rows_of(kind), rows_of(kind, 28)[:labeled] + np.float32(0.25)
    similarity = computed(rows, kernel)
    before = in_double(kernel, known, rows).max(axis=0, initial=0)
    naive = naive_greedy(in_double(kernel, rows, rows), len(rows), before)
    covered = covered_by(similarity, known)
    dense = lazy_greedy(Coverage(similarity, covered), len(rows))
    clear = int((dense.gains > 0.05).sum())  # smaller ones tie but for the rounding of float32
    at, more = 0, True
    while more:
        mine = covered_by(similarity, known)
        tries = storing_begins(at, monkeypatch)
        found = lazy_greedy(UncoveredPairs(similarity, mine), len(rows))
        assert found.rows[:clear].tolist() == naive[:clear], f"storing began at try {at}"
        assert sorted(found.rows) == list(range(len(rows)))
        assert (np.diff(found.rows[found.gains == 0]) > 0).all()
        np.testing.assert_allclose(found.gains, dense.gains, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(mine, covered, atol=1e-6)
        more, at = len(tries) > at, at + 1
    assert at >= {"constant": 2, "zeros": 2, "duplicated": 10}.get(kind, 40)


@KERNELS
@LABELED
def test_pairs_that_never_fit_are_computed(kernel: Kernel, labeled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of("random")
    similarity = computed(rows, kernel)
    monkeypatch.setattr(uncovered, "MAX_EDGES", 0)
    found = lazy_greedy(UncoveredPairs(similarity, covered_by(similarity, rows[:labeled])), 20)
    expected = lazy_greedy(Coverage(similarity, covered_by(similarity, rows[:labeled])), 20)
    assert found.rows.tolist() == expected.rows.tolist()
    np.testing.assert_array_equal(found.gains, expected.gains)


@KERNELS
def test_a_sample_that_promises_too_little_does_no_harm(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of("random")
    similarity = computed(rows, kernel)
    storing_begins(0, monkeypatch)
    monkeypatch.setattr(uncovered, "MAX_EDGES", 100)
    found = lazy_greedy(UncoveredPairs(similarity, covered_by(similarity, rows[:3])), 40)
    expected = lazy_greedy(Coverage(similarity, covered_by(similarity, rows[:3])), 40)
    assert found.rows.tolist() == expected.rows.tolist()


@KERNELS
@LABELED
def test_pairs_are_those_above_the_coverage(kernel: Kernel, labeled: int) -> None:
    rows = rows_of("random")
    similarity = computed(rows, kernel)
    covered = covered_by(similarity, rows[:labeled])
    graph = uncovered_pairs(similarity, covered, max_edges=48 * 48)
    assert graph is not None
    every = similarity.candidates.matrix.whole()
    stored = np.zeros((48, 48), dtype=np.float32)
    stored[graph.sources(), graph.targets] = graph.weights
    exact = np.asarray(kernel(every, every))
    np.testing.assert_allclose(stored, np.where(exact > covered, exact, 0), atol=1e-6)
    edges = len(graph.targets)
    assert uncovered_pairs(similarity, covered, max_edges=edges) is not None
    assert uncovered_pairs(similarity, covered, max_edges=edges - 1) is None
    assert uncovered_pairs_estimate(similarity, covered) == edges


def test_the_number_of_pairs_is_estimated_from_some_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of("clustered", 1000)
    similarity = computed(rows, GAUSSIAN)
    covered = covered_by(similarity, rows[:9])
    graph = uncovered_pairs(similarity, covered, max_edges=1000 * 1000)
    assert graph is not None
    monkeypatch.setattr(uncovered, "SAMPLE", 100)
    assert uncovered_pairs_estimate(similarity, covered) == pytest.approx(len(graph.targets), rel=0.25)


class Counting:
    """A Gaussian kernel that counts the pairs it was asked for."""

    def __init__(self) -> None:
        self.pairs = 0

    def prepare(self, rows: Block) -> Block:
        return GAUSSIAN.prepare(rows)

    def __call__(self, a: Block, b: Block) -> Block:
        self.pairs += len(a) * len(b)
        return GAUSSIAN(a, b)


def pairs_computed(objective: type[Objective], labeled: int) -> float:
    """Passes over all pairs, in greedy with 200 picks of 1,000."""
    kernel, rows = Counting(), rows_of("clustered", 1000)
    similarity = computed(rows, kernel)
    covered = covered_by(similarity, rows[:labeled])
    kernel.pairs = 0
    lazy_greedy(objective(similarity, covered), 200)  # type: ignore[call-arg]
    return kernel.pairs / len(rows) ** 2


def test_all_similarities_are_computed_once_or_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uncovered, "MAX_EDGES", 500_000)
    monkeypatch.setattr(uncovered, "SAMPLE", 10)
    assert pairs_computed(UncoveredPairs, labeled=50) < 1.1
    assert pairs_computed(UncoveredPairs, labeled=0) < 2.5
    assert pairs_computed(Coverage, labeled=50) > 4
