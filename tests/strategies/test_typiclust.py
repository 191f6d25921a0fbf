"""TypiClust against its definition, written as loops over the same clusters."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.predictions import Predictions
from foresift.kernels.kmeans import kmeans
from foresift.selection.base import generator
from foresift.strategies import parse
from foresift.strategies import typiclust as module


def pool(rows: np.ndarray) -> Predictions:
    return Predictions.from_arrays(np.arange(len(rows)), embeddings=rows.astype("f4"))


def by_definition(rows: np.ndarray, assignment: np.ndarray, labeled: list[int], k: int, budget: int) -> list[int]:
    """Rows picked, by loops; ``assignment`` in order of row."""
    typical: dict[int, list[int]] = {}
    for cluster in range(k):
        members = [i for i in range(len(rows)) if assignment[i] == cluster and i not in labeled]
        count = min(20, len(members) // 2)
        mean = {}
        for i in members:
            near = sorted(float(np.linalg.norm(rows[i] - rows[j])) for j in members if j != i)
            mean[i] = sum(near[:count]) / count if count else 0.0
        typical[cluster] = sorted(members, key=lambda i: (mean[i], i))
    size = [int((assignment == cluster).sum()) for cluster in range(k)]
    covered = [sum(assignment[i] == cluster for i in labeled) for cluster in range(k)]
    order = sorted(range(k), key=lambda c: (covered[c], -size[c], c))
    picked: list[int] = []
    for group in ([c for c in order if size[c] >= 5], [c for c in order if size[c] < 5]):
        while len(picked) < budget and any(typical[c] for c in group):
            for c in group:
                if typical[c] and len(picked) < budget:
                    picked.append(typical[c].pop(0))
    return picked


@pytest.mark.parametrize(("n", "labels", "budget", "clusters"), [
    (300, 0, 12, 500), (300, 20, 30, 500), (200, 7, 60, 10), (120, 3, 117, 500), (90, 0, 70, 500), (40, 30, 10, 3),
])  # fmt: skip
def test_picks_are_those_of_the_definition(n: int, labels: int, budget: int, clusters: int) -> None:
    rng = np.random.default_rng(n + labels)
    rows = ((rng.normal(size=(9, 5)) * 4)[rng.integers(0, 9, n)] + rng.normal(size=(n, 5))).astype("f4")
    labeled = sorted(rng.permutation(n)[:labels].tolist())
    free = np.setdiff1d(np.arange(n), labeled)
    selection = parse(f"TypiClust:max_clusters={clusters}").select(pool(rows), budget=budget, labeled=labeled)
    k = min(labels + budget, clusters)
    order = np.concatenate([free, np.array(labeled, dtype=int)])
    found = kmeans(RowMatrix(array=rows[order]), k, generator(0, "typiclust", labeled=np.array(labeled, dtype=int)))
    assignment = np.empty(n, dtype=int)
    assignment[order] = found.assignment
    expected = by_definition(rows.astype(float), assignment, labeled, k, budget)
    assert selection.sample_ids.tolist() == expected
    size = np.bincount(assignment, minlength=k)
    from_small = sum(size[assignment[i]] < 5 for i in expected)
    assert selection.receipt.details == {"clusters": k, "picks_from_small_clusters": from_small}


@pytest.mark.parametrize("factor", [0.25, 1024])
def test_a_common_factor_changes_nothing(factor: float) -> None:
    rows = np.random.default_rng(1).normal(size=(150, 6))
    plain, scaled = (parse("typiclust").select(pool(r), budget=20, labeled=[3, 8]) for r in (rows, rows * factor))
    assert plain.sample_ids.tolist() == scaled.sample_ids.tolist()


def test_a_group_without_labels_comes_first() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(4), 25)
    rows = (rng.normal(size=(4, 5)) * 40)[groups] + rng.normal(size=(100, 5))
    selection = parse("typiclust:max_clusters=4").select(pool(rows), budget=2, labeled=[2, 60])
    assert sorted(groups[selection.sample_ids].tolist()) == [1, 3]


def test_copies_and_single_rows_meet_the_budget() -> None:
    for rows in (np.ones((12, 3)), np.repeat(np.eye(3), 4, axis=0), np.zeros((12, 2))):
        for budget in (1, 5, 12):
            ids = parse("typiclust").select(pool(rows), budget=budget).sample_ids
            assert len(set(ids.tolist())) == budget


def test_neighbours_in_giant_clusters_come_from_a_sample_and_the_receipt_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WORK", 1)
    rows = np.random.default_rng(3).normal(size=(1200, 3))
    selection = parse("typiclust").select(pool(rows), budget=2)
    assert "among 256 of them" in selection.receipt.approx
    radius = np.linalg.norm(rows, axis=1)
    assert radius[selection.sample_ids].max() < np.median(radius), "typical rows lie where many others do"


def test_max_clusters_below_1_is_refused() -> None:
    with pytest.raises(UsageError, match="max_clusters"):
        parse("typiclust:max_clusters=0")
