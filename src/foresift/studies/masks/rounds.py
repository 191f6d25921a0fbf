"""Rounds of labeling masks, compared: the same first images, then the same area a round by every arm.

A study is a grid of cells, one an arm and seed; a finished cell is a file of its own under a digest of everything
that decides it, so that an interrupted study goes on where it was.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.pixels.evaluating import evaluate_segmentation
from foresift.app.pixels.request import Dense
from foresift.app.pixels.selection import select_images
from foresift.app.pixels.train import train_segmentation
from foresift.app.pixels.training_request import SegmentationRequest
from foresift.app.selecting.request import Request
from foresift.app.workspace import Workspace
from foresift.core.about import foresift_version
from foresift.core.digests import digest_value
from foresift.core.errors import ForesiftError
from foresift.core.protocols import Progress
from foresift.core.queries import Selection
from foresift.core.regions import Region, split_id
from foresift.inference.decode import decode
from foresift.stores.files import write_json
from foresift.studies.cells import kept_cell
from foresift.studies.masks.sets import MaskSet
from foresift.studies.parts import WHOLE, Part

Row = dict[str, Any]
"""What is labeled: ``id``, ``uri`` and, of a part of an image, its rectangle."""
Measure = Callable[[Sequence[Row], Sequence[Row]], float]
"""(rows labeled before, rows chosen now) -> a figure of the choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of choosing."""

    name: str
    strategy: str
    unit: str = "image"
    aggregate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a study is; its seeds are no part of what decides a cell."""

    model: str = "deeplabv3plus:mobilenetv3_small_100"
    image_size: str = ""
    pool: int = 0
    """Images of the training split that a seed's pool holds; 0 = nine tenths."""
    start: int
    """Images labeled at random before the first choice."""
    step: int
    """Images a round, or as many pixels in patches."""
    rounds: int = 1
    trained: int | None = None
    """Rounds after which a model is trained and measured; None = all."""
    patch: int = 256
    steps: int = 400
    """Of a training, whatever the number of images."""
    batch_size: int = 8
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm with one seed."""

    study: str
    arm: str
    seed: int
    images: tuple[int, ...] = ()
    """Images that are labeled in whole or in part: at the start, and after each round."""
    pixels: tuple[int, ...] = ()
    """Labeled pixels, likewise."""
    miou: tuple[float, ...] = ()
    """On the test split: of the first model, then after each round that was trained on."""
    iou: tuple[tuple[float | None, ...], ...] = ()
    measured: tuple[float, ...] = ()
    """The study's own figure of each choice."""
    seconds: float = 0.0
    refused: str = ""
    """Why there is no result, where there is none."""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Cell:
        """Inverse of ``dataclasses.asdict``, lists back to tuples."""
        return cls(**{name: _tuple(value) for name, value in plain.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything that the cells of one seed share."""

    study: str
    data: MaskSet
    size: Size
    folder: Path
    seed: int
    pool: Sequence[str]
    measure: Measure | None
    progress: Progress


def cells(
    study: str,
    data: MaskSet,
    arms: Sequence[Arm],
    size: Size,
    folder: Path,
    *,
    measure: Callable[[Sequence[str]], Measure] | None,
    progress: Progress,
    part: Part = WHOLE,
) -> Iterator[Cell]:
    """Every cell of a grid, those of one seed after the other.

    Args:
        measure: from the images of a pool to the figure that each choice is measured by.
        part: seeds that are run.
    """
    for seed in part.among(range(size.seeds)):
        pool = data.pool(size.pool, seed=seed)
        own = None if measure is None else measure(pool)
        here = Setting(
            study=study, data=data, size=size, folder=folder, seed=seed, pool=pool, measure=own, progress=progress
        )
        for arm in arms:
            yield _kept(here, arm)


def _settings(size: Size, *more: Any) -> str:
    plain = {name: value for name, value in asdict(size).items() if name != "seeds"}
    return digest_value([plain, *more, foresift_version()])[:12]


def _kept(here: Setting, arm: Arm) -> Cell:
    """The cell of a file, or a new one that is written there whole."""
    path = here.folder / "cells" / _settings(here.size, asdict(arm)) / f"{arm.name}-{here.seed}.json"
    work = path.with_suffix("")
    cell = kept_cell(path, Cell, partial(_run_cell, here, arm, work), worth=lambda cell: not cell.refused)
    if not cell.refused:
        shutil.rmtree(work, ignore_errors=True)
    return cell


def _run_cell(here: Setting, arm: Arm, work: Path) -> Cell:
    blank = Cell(study=here.study, arm=arm.name, seed=here.seed)
    try:
        return Cell(**{**asdict(blank), **_rounds(here, arm, work)})
    except ForesiftError as error:
        return Cell(**{**asdict(blank), "refused": str(error)})


def _rounds(here: Setting, arm: Arm, work: Path) -> dict[str, Any]:
    """Labels bought round by round, a model trained from scratch on all of them after each."""
    began, size = time.perf_counter(), here.size
    first = np.random.default_rng([here.seed, 12]).permutation(len(here.pool))[: size.start]
    labeled: list[Row] = [{"id": "", "uri": here.pool[at]} for at in np.sort(first).tolist()]
    start = here.folder / "start" / _settings(size) / str(here.seed)
    model, figures = start / "generation", [_learned(here, labeled, start)]
    whole = _pixels_of_image(here.pool[0])
    images, pixels, measured = [len(labeled)], [len(labeled) * whole], []
    for number in range(1, size.rounds + 1):
        chosen = _chosen(here, arm, model, labeled, number, work, pixels=size.step * whole)
        measured += [] if here.measure is None else [here.measure(labeled, chosen)]
        labeled += chosen
        images.append(len({row["uri"] for row in labeled}))
        pixels.append(sum(_pixels(row, whole) for row in labeled))
        if number <= (size.rounds if size.trained is None else size.trained):
            model = work / f"round-{number}" / "generation"
            figures.append(_learned(here, labeled, model.parent))
    return {
        "images": tuple(images),
        "pixels": tuple(pixels),
        "miou": tuple(one["miou"] for one in figures),
        "iou": tuple(tuple(one["iou"]) for one in figures),
        "measured": tuple(measured),
        "seconds": round(time.perf_counter() - began, 1),
    }


def _chosen(
    here: Setting, arm: Arm, model: Path, labeled: Sequence[Row], number: int, work: Path, *, pixels: int
) -> list[Row]:
    """What an arm chooses in a round: ``step`` images, or patches of as many pixels."""
    by_patch = arm.unit == "patch"
    manifest = _table(work / "pool.csv", [{"uri": uri} for uri in here.pool], ("uri",))
    known = _table(work / f"labeled-{number}.csv", labeled, ("id", "uri"))
    dense = Dense(
        unit=arm.unit,
        patch=here.size.patch if by_patch else None,
        aggregate=arm.aggregate,
        budget_pixels=pixels if by_patch else None,
    )
    budget = 1 if by_patch else here.size.step
    request = Request(strategy=arm.strategy, budget=budget, labeled=known, seed=1_000 * here.seed + number)
    workspace = Workspace.open(here.folder / "workspace")
    return _rows(select_images(workspace, manifest, request, dense, model=model).selection)


def _rows(selection: Selection) -> list[Row]:
    """Picks as rows of labels: whole images without an id, parts of them with it and their rectangle."""
    found = []
    for row in selection.rows():
        region = split_id(row["id"])[1]
        place = {} if region is None else region._asdict()
        found.append({"id": "" if region is None else row["id"], "uri": row["uri"], **place})
    return found


def _learned(here: Setting, labeled: Sequence[Row], folder: Path) -> dict[str, Any]:
    """Figures on the test split of a model trained on these rows; a folder that holds them is not trained again."""
    kept = folder / "test.json"
    if kept.is_file():
        known: dict[str, Any] = json.loads(kept.read_text())
        return known
    size, workspace = here.size, Workspace.open(here.folder / "workspace")
    table = _table(folder / "labeled.csv", labeled, ("uri", *Region._fields))
    each = -(-len({row["uri"] for row in labeled}) // size.batch_size)
    recipe = {"batch_size": size.batch_size, **size.recipe, "epochs": max(1, round(size.steps / each))}
    request = SegmentationRequest(
        model=size.model,
        out=folder / "generation",
        split="train",
        image_size=size.image_size,
        classes=here.data.classes,
        ignore_index=here.data.ignored,
        labels=table,
        recipe=recipe,
        seed=here.seed,
        progress=here.progress,
    )
    train_segmentation(workspace, here.data.root, request)
    metrics = evaluate_segmentation(workspace, here.data.root, folder / "generation", split="test").metrics
    write_json(kept, metrics)
    return metrics


def _table(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _pixels(row: Row, whole: int) -> int:
    return int(row["width"]) * int(row["height"]) if "width" in row else whole


def _pixels_of_image(uri: str) -> int:
    height, width = decode(Path(uri).read_bytes()).shape[:2]
    return int(height * width)


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
