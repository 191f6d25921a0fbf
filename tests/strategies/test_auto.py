"""The switch from typical to uncertain samples: when, to what, and whether it is worth it on real digits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection
from foresift.kernels.softmax_head import balanced_accuracy
from foresift.strategies import auto as module
from foresift.strategies import parse
from foresift.strategies.auto import least_accuracy

SEEDS = 4
AT_FIRST = 20


def blobs(n: int = 200, *, classes: int = 4, apart: float = 6.0, seed: int = 0) -> tuple[Predictions, np.ndarray]:
    """Rows around ``classes`` centres, and whose they are."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes, n)
    rows = (rng.normal(size=(classes, 6)) * apart)[codes] + rng.normal(size=(n, 6))
    return Predictions.from_arrays(np.arange(n), embeddings=rows.astype("f4")), codes


def labeled_of(codes: np.ndarray, each: int) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(codes == code)[:each] for code in np.unique(codes)]))


def chosen(pool: Predictions, codes: np.ndarray, labeled: np.ndarray, budget: int, spec: str = "auto") -> Selection:
    return parse(spec).select(pool, budget=budget, labeled=labeled, labels=codes[labeled])


def ran(selection: Selection) -> str:
    return str(selection.receipt.details["ran"]).partition(":")[0]


def test_without_a_label_it_is_typiclust_itself() -> None:
    pool, _ = blobs()
    selection = parse("auto").select(pool, budget=8)
    assert ran(selection) == "typiclust"
    assert "nothing is labeled" in selection.receipt.details["why"]
    assert selection.receipt.details["typiclust"]["clusters"] == 8


@pytest.mark.parametrize(("labels", "budget", "name"), [(0, 500, "typiclust"), (0, 501, "k-dpp"), (40, 461, "k-dpp")])
def test_beyond_the_clusters_of_typiclust_the_first_batch_is_a_dpp(labels: int, budget: int, name: str) -> None:
    chosen_first, why = module.first_choice(labels, budget)
    assert chosen_first.name == name
    assert str(labels + budget) in why
    assert module.first_choice(0, module.DPP_PICKS + 1)[0].name == "typiclust"


@pytest.mark.parametrize(("each", "name"), [(4, "typiclust"), (5, "margin")])
def test_it_waits_for_five_labels_in_the_median_class(each: int, name: str) -> None:
    pool, codes = blobs()
    assert ran(chosen(pool, codes, labeled_of(codes, each), 10)) == name


def test_it_waits_until_a_head_beats_twice_chance() -> None:
    pool, codes = blobs(apart=0.0)
    selection = chosen(pool, codes, labeled_of(codes, 12), 10)
    assert ran(selection) == "typiclust"
    details = selection.receipt.details
    assert details["balanced_accuracy"] <= details["needed"] == 0.5


def test_two_classes_can_be_told_apart_too() -> None:
    assert [least_accuracy(c) for c in (2, 3, 4, 10)] == pytest.approx([0.75, 2 / 3, 0.5, 0.2])
    pool, codes = blobs(classes=2)
    assert ran(chosen(pool, codes, labeled_of(codes, 6), 10)) == "margin"


def test_labels_of_one_class_prove_nothing() -> None:
    pool, codes = blobs()
    assert ran(chosen(pool, codes, np.flatnonzero(codes == 2)[:20], 10)) == "typiclust"


def test_margins_are_those_of_a_head_on_the_embeddings() -> None:
    pool, codes = blobs(apart=1.5, n=400)
    labeled = labeled_of(codes, 20)
    rows = pool.column("embeddings").astype(float)
    moved = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    peer = LogisticRegression(C=1 / (0.01 * len(labeled)), tol=1e-9, max_iter=5000).fit(moved[labeled], codes[labeled])
    free = np.setdiff1d(np.arange(len(codes)), labeled)
    top = np.sort(peer.predict_proba(moved[free]), axis=1)
    expected = free[np.argsort(top[:, -1] - top[:, -2])[:15]]
    selection = chosen(pool, codes, labeled, 15)
    assert ran(selection) == "margin"
    assert len(np.intersect1d(selection.sample_ids, expected)) >= 14
    assert selection.scores is not None


def test_large_batches_are_diverse_too() -> None:
    pool, codes = blobs()
    selection = chosen(pool, codes, labeled_of(codes, 8), 12, "auto:large=12")
    assert ran(selection) == "ua-dpp"
    assert "12 picks or more" in selection.receipt.details["why"]


def test_class_codes_are_names_only() -> None:
    pool, codes = blobs()
    labeled = labeled_of(codes, 6)
    plain, renamed = (chosen(pool, other, labeled, 10) for other in (codes, codes * 7 + 3))
    assert plain.sample_ids.tolist() == renamed.sample_ids.tolist()


def test_labeled_samples_without_their_labels_are_refused() -> None:
    pool, _ = blobs()
    with pytest.raises(UsageError, match="label column"):
        parse("auto").select(pool, budget=3, labeled=[1, 2])


def test_constant_embeddings_and_copies_meet_the_budget() -> None:
    for rows in (np.ones((40, 3)), np.zeros((40, 2)), np.repeat(np.eye(4), 10, axis=0)):
        pool = Predictions.from_arrays(np.arange(40), embeddings=rows.astype("f4"))
        ids = parse("auto").select(pool, budget=25, labeled=np.arange(12), labels=np.arange(12) % 2).sample_ids
        assert len(set(ids.tolist())) == 25


def test_large_is_checked() -> None:
    with pytest.raises(UsageError, match="large"):
        parse("auto:large=0")


def test_on_digits_it_beats_random_from_the_first_labels_and_switches_later() -> None:
    """Balanced accuracy of a linear model after 20 labels, over seeds; margin from some round on, and never back."""
    data = load_digits()
    accuracy: dict[str, list[float]] = {"auto": [], "random": []}
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(data.target))
        pool, test = order[:700], order[700:]
        view = Predictions.from_arrays(np.arange(700), embeddings=data.data[pool].astype("f4"))
        for name, reached in accuracy.items():
            ids = parse(name).select(view, budget=AT_FIRST, seed=seed).sample_ids
            peer = LogisticRegression(C=1, max_iter=300).fit(data.data[pool[ids]] / 16, data.target[pool[ids]])
            reached.append(balanced_accuracy(peer.predict(data.data[test] / 16), data.target[test]))
    assert np.mean(accuracy["auto"]) > np.mean(accuracy["random"]) + 0.05, accuracy
    codes, known, path = data.target[pool], np.empty(0, dtype=int), []
    for _ in range(6):
        selection = chosen(view, codes, known, AT_FIRST)
        path.append(ran(selection))
        known = np.sort(np.concatenate([known, selection.sample_ids]))
    assert path[0] == "typiclust"
    assert path[-1] == "margin"
    assert path == sorted(path, reverse=True), path
