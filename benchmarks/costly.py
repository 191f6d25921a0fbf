"""The strategies that compute for minutes: 500 of 10,000 CIFAR-10 images, seconds from predictions to ids."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import foresift
from benchmarks.data import cifar10, part
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request
from foresift.app.workspace import Workspace
from foresift.training.head import fit_head

FROM_ARRAYS = ("bait", "batch-bald")
FROM_IMAGES = ("deep-fool", "vaal", "core-gcn", "loss-prediction")
LABELED = 100
"""A class, of a thousand."""
BUDGET = 500
MEMBERS = 5


def costly(names: Sequence[str], work: Path) -> int:
    """Print the seconds of each; the number that failed."""
    chosen = names or (*FROM_ARRAYS, *FROM_IMAGES)
    home = work / "costly"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    pool = part(cifar10(work.parent) / "train", work / "pool-10000", per_class=slice(0, 1000))
    labels = _labels(pool, home / "labels.csv")
    recipe = {"epochs": 10, "loss_prediction": True, "augment": "flip-crop"}
    foresift.train(pool, "cnn:16", home / "model", labels=labels, home=home, seed=1, recipe=recipe)
    predictions, ids, codes = _predictions(pool, home)
    print(f"\n{BUDGET} of 10,000 CIFAR-10 images, cnn:16 trained on {10 * LABELED}", flush=True)
    failed = 0
    for name in chosen:
        if name in FROM_ARRAYS:
            failed += _timed(
                name,
                lambda name=name: foresift.select(predictions, name, budget=BUDGET, labeled=ids, labels=codes, seed=2),
            )
        else:
            request = Request(strategy=name, budget=BUDGET, labeled=labels, seed=2)
            failed += _timed(
                name,
                lambda request=request: (
                    select_from_pool(Workspace.open(home), pool, request, model=home / "model").selection
                ),
            )
    return failed


def _timed(name: str, select: Callable[[], foresift.Selection]) -> int:
    start = time.perf_counter()
    try:
        chosen = select()
    except foresift.ForesiftError as error:
        print(f"  {name:<16} FAILED {error}", flush=True)
        return 1
    seconds = time.perf_counter() - start
    whole = len(set(chosen.sample_ids.tolist())) == BUDGET
    said = f"  approx: {chosen.receipt.approx}" if chosen.receipt.approx else ""
    print(f"  {name:<16} {seconds:8.1f} s{said}{'' if whole else '  FELL SHORT: not 500 distinct ids'}", flush=True)
    return int(not whole)


def _labels(pool: Path, file: Path) -> Path:
    with file.open("w", newline="") as target:
        rows = csv.writer(target)
        rows.writerow(["uri", "label"])
        for kind in sorted(pool.iterdir()):
            rows.writerows([image, kind.name] for image in sorted(kind.iterdir())[:LABELED])
    return file


def _predictions(pool: Path, home: Path) -> tuple[foresift.Predictions, list[str], list[int]]:
    """Logits, embeddings and members of all, and which are labeled as what."""
    seen = foresift.predict(pool, home / "model", home=home)
    names = sorted(kind.name for kind in pool.iterdir())
    at = {str(uri): row for row, uri in enumerate(seen.uris)}
    known = {
        at[str(image)]: code for code, kind in enumerate(names) for image in sorted((pool / kind).iterdir())[:LABELED]
    }
    rows, codes = np.array(list(known)), np.array(list(known.values()))
    X = seen.column("embeddings")
    predictions = foresift.Predictions.from_arrays(
        seen.sample_ids, logits=seen.column("logits"), embeddings=X, member_logits=_members(X, rows, codes)
    )
    return predictions, [str(i) for i in seen.sample_ids[rows]], codes.tolist()


def _members(X: np.ndarray, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(e, n, c) logits of heads trained on other halves of the labels."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(MEMBERS):
        half = rng.permutation(len(rows))[: len(rows) // 2]
        head = fit_head(X[rows[half]], codes[half], classes=10, l2=0.01)
        parts.append(X @ head.weight.detach().numpy().T + head.bias.detach().numpy())
    return np.stack(parts).astype(np.float32)
