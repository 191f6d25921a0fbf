"""Every registered strategy chooses from real CIFAR-10 predictions: 500 of 10,000, the costly ones 50 of 1,000."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import foresift
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request
from foresift.app.workspace import Workspace
from foresift.core.columns import HOW_TO_GET
from foresift.inference.columns import COLUMN_PASSES
from foresift.strategies import STRATEGIES, parse
from foresift.training.columns import FITTED_PASSES
from foresift.training.head import fit_head

pytestmark = [pytest.mark.data, pytest.mark.timeout(600)]
COSTLY = {"bait", "batch-bald", "deep-fool", "vaal", "core-gcn", "loss-prediction"}
CHAINS = ["margin:keep=2000+k-center", "class-balanced:of=margin", "power:score=margin"]
SHORT = {"vaal": "vaal:steps=40", "deep-fool": "deep-fool:steps=5", "core-gcn": "core-gcn:epochs=50"}
"""Fewer steps than anybody would want: the road is under test here, not how far it leads."""
DENSE = {"patch-grid"}
"""Columns that take a segmentation model: no classifier's pool has them (tests/app/pixels/test_selection.py)."""
LABELED = 40
"""A class, of a thousand."""
MEMBERS = 4


@dataclass(frozen=True)
class Scene:
    """A pool of real images, what a model trained on 400 of them says, and where it all lies."""

    pool: Path
    small: Path
    model: Path
    labeled: Path
    home: Path
    predictions: foresift.Predictions
    codes: dict[str, int]
    """Of the labeled samples."""


@pytest.fixture(scope="module")
def scene(cifar_10000: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("scene")
    home = folder / "home"
    first = lambda file: int(file.stem) < LABELED  # noqa: E731
    labels, small = folder / "labels.csv", folder / "small"
    with labels.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "label"])
        for image in sorted(cifar_10000.rglob("*.jpg")):
            if first(image):
                rows.writerow([image, image.parent.name])
            if int(image.stem) < 100:
                (small / image.parent.name).mkdir(parents=True, exist_ok=True)
                (small / image.parent.name / image.name).symlink_to(image)
    model = folder / "model"
    recipe = {"epochs": 8, "loss_prediction": True, "augment": "flip-crop"}
    foresift.train(cifar_10000, "cnn:8", model, labels=labels, home=home, seed=1, recipe=recipe)
    seen = foresift.predict(cifar_10000, model, home=home)
    names = sorted(path.name for path in cifar_10000.iterdir())
    at = {str(uri): row for row, uri in enumerate(seen.uris)}
    known = {str(image): names.index(image.parent.name) for image in cifar_10000.rglob("*.jpg") if first(image)}
    rows, codes = np.array([at[uri] for uri in known]), np.array(list(known.values()))
    ids = [str(sample) for sample in seen.sample_ids[rows]]
    members = _members(seen.column("embeddings"), rows, codes)
    predictions = foresift.Predictions.from_arrays(
        seen.sample_ids, logits=seen.column("logits"), embeddings=seen.column("embeddings"), member_logits=members
    )
    return Scene(cifar_10000, small, model, labels, home, predictions, dict(zip(ids, codes.tolist(), strict=True)))


def _members(embeddings: np.ndarray, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(e, n, c) logits of heads that were trained on other halves of the labels."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(MEMBERS):
        half = rng.permutation(len(rows))[: len(rows) // 2]
        head = fit_head(embeddings[rows[half]], codes[half], classes=10, l2=0.01)
        weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
        parts.append(embeddings @ weight.T + bias)
    return np.stack(parts).astype(np.float32)


def from_arrays() -> list[str]:
    """Strategies whose columns a user's arrays can hold."""
    passes = {*COLUMN_PASSES.names(), *FITTED_PASSES.names()} - {"members", "member-logits"}
    names = [name for name in STRATEGIES.names() if not {"truth", *passes, *DENSE} & set(parse(name).needs)]
    return [*names, *CHAINS]


def from_passes() -> list[str]:
    """Strategies whose column takes a pass over the images or a training on the pool."""
    passes = {*COLUMN_PASSES.names(), *FITTED_PASSES.names()} - {"members", "member-logits"}
    return [name for name in STRATEGIES.names() if passes & set(parse(name).needs)]


@pytest.mark.parametrize("name", from_arrays())
def test_strategies_on_arrays(name: str, scene: Scene) -> None:
    predictions, codes, budget = scene.predictions, scene.codes, 500
    if name in COSTLY:
        some = np.flatnonzero(~np.isin(predictions.sample_ids, list(codes)))[:1000]
        predictions, budget = predictions.take(some), 50
    chosen = foresift.select(predictions, name, budget=budget, labeled=list(codes), labels=list(codes.values()), seed=2)
    check(chosen, budget=budget, labeled=set(codes))


@pytest.mark.parametrize("name", from_passes())
def test_strategies_that_need_a_pass(name: str, scene: Scene) -> None:
    pool, budget = (scene.small, 50) if name in COSTLY else (scene.pool, 500)
    labeled = scene.labeled if pool == scene.pool else _labels_of(scene)
    request = Request(strategy=SHORT.get(name, name), budget=budget, labeled=labeled, seed=2)
    done = select_from_pool(Workspace.open(scene.home), pool, request, model=scene.model)
    check(done.selection, budget=budget, labeled=set())


def test_every_strategy_is_tried_and_every_column_can_be_had() -> None:
    tried = {*from_arrays(), *from_passes()}
    left_out = [name for name in STRATEGIES.names() if name not in tried]
    assert all({"truth", *DENSE} & set(parse(name).needs) for name in left_out)
    needed = {need for name in STRATEGIES.names() for need in parse(name).needs} - {"labels", "truth"}
    assert needed <= set(HOW_TO_GET)


def check(chosen: foresift.Selection, *, budget: int, labeled: set[str]) -> None:
    ids = [str(sample) for sample in chosen.sample_ids]
    assert len(ids) == len(set(ids)) == budget
    assert not labeled & set(ids)
    assert not chosen.receipt.short
    assert chosen.receipt.solver
    assert chosen.scores is None or np.isfinite(chosen.scores).all()


def _labels_of(scene: Scene) -> Path:
    """The labels of the small pool: its files are links, under other addresses."""
    path = scene.small.parent / "small.csv"
    if not path.exists():
        files = [file for file in sorted(scene.small.rglob("*.jpg")) if int(file.stem) < LABELED]
        path.write_text("uri,label\n" + "".join(f"{file},{file.parent.name}\n" for file in files))
    return path
