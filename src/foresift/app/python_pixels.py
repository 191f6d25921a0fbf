"""The Python API where labels are masks; each function is one command of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.queries import Selection
from foresift.core.segmentation import SegmentationGeneration

if TYPE_CHECKING:
    from foresift.app.pixels.mask_pictures import DrawnMasks
    from foresift.app.pixels.pictures import Drawn
    from foresift.app.pixels.returned_masks import Imported

Where = str | Path


def train_segmentation(
    data: Where,
    model: str,
    out: Where,
    *,
    split: str = "",
    val_split: str = "",
    image_size: str = "",
    classes: str | Sequence[str] = "",
    ignore_index: Sequence[int] | None = None,
    labels: Where | None = None,
    weights: Where | None = None,
    seed: int = 0,
    home: Where | None = None,
    recipe: dict[str, Any] | None = None,
) -> SegmentationGeneration:
    """Train on images and masks and write the generation folder ``out``; ``foresift train --task segmentation``.

    Args:
        data: a root such as ``images/<split>/`` and ``masks/<split>/``.
        model: HEAD:ENCODER, or a generation folder or id.
        image_size: ``240x180`` or ``50%``; "" = images keep their sizes.
        classes: names in the order of the values 0, 1, ..., or what ``--classes`` takes.
        labels: a table of labeled regions.
        recipe: fields of :class:`foresift.training.segmentation_recipe.SegmentationRecipe`.
    Raises:
        ForesiftError: as :func:`foresift.app.pixels.train.train_segmentation`.
    """
    from foresift.app.pixels.train import train_segmentation as run
    from foresift.app.pixels.training_request import SegmentationRequest

    request = SegmentationRequest(
        model=model,
        out=Path(out),
        split=split,
        val_split=val_split,
        image_size=image_size,
        classes=classes if isinstance(classes, str) else ",".join(classes),
        ignore_index=None if ignore_index is None else tuple(ignore_index),
        labels=None if labels is None else Path(labels),
        weights=None if weights is None else Path(weights),
        recipe=dict(recipe or {}),
        seed=seed,
    )
    return run(Workspace.open(home), data, request).generation


def evaluate_segmentation(
    data: Where, model: Where, *, split: str = "", layout: str = "auto", home: Where | None = None
) -> dict[str, Any]:
    """Intersection over union and pixel accuracy on images with masks; ``foresift evaluate`` of such a model.

    Raises:
        ForesiftError: as :func:`foresift.app.pixels.evaluating.evaluate_segmentation`.
    """
    from foresift.app.pixels.evaluating import evaluate_segmentation as run

    return run(Workspace.open(home), data, model, split=split, layout=layout).metrics


def select_pool(
    pool: Where,
    strategy: str = "margin",
    *,
    budget: int | None = None,
    budget_pixels: int | None = None,
    model: Where | Sequence[Where] | None = None,
    checkpoints: str = "",
    early_stop: str = "",
    labeled: Where | None = None,
    unit: str = "image",
    patch: int | None = None,
    aggregate: str | None = None,
    embeddings_from: Where | None = None,
    seed: int = 0,
    out: Where | None = None,
    home: Where | None = None,
) -> Selection:
    """What to label next of a pool of images, by whatever kind of model is given; ``foresift select``.

    Args:
        budget: labels to buy; or ``budget_pixels`` of patches.
        checkpoints: ``all`` or ``last=N``: the kept checkpoints of the models as the members of an ensemble.
        early_stop: ``stable`` or ``stable:overlap=0.95,correlation=0.95,patience=2``: when to ask no more members.
        unit: ``image``, or ``patch`` of ``patch`` pixels a side (256 unless given).
        aggregate: ``mean``, ``max`` or ``top-patches:patch=64,top=4``, of a score of pixels.
        out: a selection file to write, its receipt beside it.
    Raises:
        ForesiftError: as :func:`foresift.app.pixels.selection.select_images`.
    """
    from foresift.app.pixels.request import Dense
    from foresift.app.pixels.selection import select_images
    from foresift.app.selecting.request import Request

    if (budget is None) == (budget_pixels is None):
        raise UsageError("give budget, the number of labels, or budget_pixels, the pixels of patches")
    dense = Dense(
        unit=unit, patch=patch, aggregate=aggregate, budget_pixels=budget_pixels, embeddings_from=embeddings_from
    )
    request = Request(
        strategy=strategy,
        budget=1 if budget is None else budget,
        labeled=None if labeled is None else Path(labeled),
        checkpoints=checkpoints,
        early_stop=early_stop,
        seed=seed,
        out=None if out is None else Path(out),
    )
    return select_images(Workspace.open(home), pool, request, dense, model=model).selection


def export(selection: Where, out: Where, *, format: str = "coco", prefix: str = "") -> tuple[Path, ...]:  # noqa: A002 - as the command has it
    """Write a selection as ``crops``, ``coco`` boxes or ``label-studio`` tasks; the files. ``foresift export``.

    Raises:
        ForesiftError: as :func:`foresift.app.pixels.exporting.export`.
    """
    from foresift.app.pixels.exporting import Export
    from foresift.app.pixels.exporting import export as run

    return run(Export(selection=Path(selection), out=Path(out), format=format, prefix=prefix))


def import_masks(
    selection: Where, masks: Where, out: Where, *, ignored: int = 255, classes: str | Sequence[str] = ""
) -> Imported:
    """Paint returned masks into masks of whole images, everything else ignored; ``foresift import-masks``.

    Raises:
        ForesiftError: as :func:`foresift.app.pixels.returned_masks.import_masks`.
    """
    from foresift.app.pixels.returned_masks import import_masks as run

    names = classes if isinstance(classes, str) else ",".join(classes)
    return run(Path(selection), Path(masks), Path(out), ignored=ignored, classes=names)


def heatmap(
    image: Where,
    model: Where,
    out: Where,
    *,
    score: str = "entropy",
    patch: int = 64,
    top: int = 4,
    selection: Where | None = None,
    home: Where | None = None,
) -> Drawn:
    """Draw where a model is unsure of an image, its patches framed; ``foresift heatmap``.

    Raises:
        ForesiftError: as :func:`foresift.app.pixels.pictures.draw_heatmap`.
    """
    from foresift.app.pixels.pictures import Heatmap, draw_heatmap

    what = Heatmap(
        image=str(image),
        model=str(model),
        out=Path(out),
        score=score,
        patch=patch,
        top=top,
        selection=None if selection is None else Path(selection),
    )
    return draw_heatmap(Workspace.open(home), what)


def masks(
    data: Where,
    out: Where,
    *,
    model: Where = "",
    split: str = "",
    layout: str = "auto",
    classes: str | Sequence[str] = "",
    ignore_index: Sequence[int] | None = None,
    count: int = 8,
    columns: int = 2,
    side: int = 200,
    home: Where | None = None,
) -> DrawnMasks:
    """Draw images under their masks, beside what a model predicts; ``foresift masks``.

    Raises:
        ForesiftError: as :func:`foresift.app.pixels.mask_pictures.draw_masks`.
    """
    from foresift.app.pixels.mask_pictures import MaskSheet, draw_masks

    what = MaskSheet(
        root=str(data),
        out=Path(out),
        model=str(model),
        split=split,
        layout=layout,
        classes=classes if isinstance(classes, str) else ",".join(classes),
        ignore_index=None if ignore_index is None else tuple(ignore_index),
        count=count,
        columns=columns,
        side=side,
    )
    return draw_masks(Workspace.open(home), what)


def sheet(selection: Where, out: Where, *, columns: int = 8, side: int = 160) -> int:
    """Draw a contact sheet of a selection; how many images it shows. ``foresift sheet``.

    Raises:
        ForesiftError: as :func:`foresift.app.pixels.pictures.draw_sheet`.
    """
    from foresift.app.pixels.pictures import draw_sheet

    return draw_sheet(Path(selection), Path(out), columns=columns, side=side)
