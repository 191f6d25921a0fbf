"""Selections as labeling tools take them: crops, COCO boxes, Label Studio tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from PIL import Image

from foresift.app.selecting.chosen import Chosen, by_image, classes_of, read_chosen
from foresift.core.errors import UsageError
from foresift.core.ranges import check_one_of
from foresift.core.regions import Region
from foresift.stores.files import write_atomically, write_json, write_text
from foresift.stores.tables import write_rows

TO_LABEL = "to label"
CROP_COLUMNS = ("crop", "id", "uri", "left", "top", "width", "height")


class _Sized(NamedTuple):
    """An image, its size and what was chosen of it."""

    uri: str
    width: int
    height: int
    picks: list[Chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What to write and where."""

    selection: Path
    out: Path
    format: str
    prefix: str = ""
    """Label Studio only: put before the path of each image, such as ``/data/local-files/?d=``."""

    def __post_init__(self) -> None:
        check_one_of(tuple(FORMATS), format=self.format)
        if self.prefix and self.format != "label-studio":
            raise UsageError("--prefix goes with --format label-studio")


def export(job: Export) -> tuple[Path, ...]:
    """Write a selection in a tool's format; the files, the one to open first first.

    Raises:
        UsageError: the format does not fit the selection.
        DataError: the selection or an image can't be read.
    """
    return FORMATS[job.format](job, read_chosen(job.selection))


def _crops(job: Export, picks: tuple[Chosen, ...]) -> tuple[Path, ...]:
    """One PNG a region, and a table of where each was cut."""
    if whole := [pick for pick in picks if pick.region is None]:
        raise UsageError(f"--format crops is for patches; {whole[0].id} is a whole image, which stays where it lies")
    rows: list[dict[str, Any]] = []
    for _, own, pixels in by_image(picks):
        for pick in own:
            _write_png(job.out / "crops" / f"{pick.name}.png", Image.fromarray(pick.part_of(pixels)))
            place = pick.region._asdict() if pick.region else {}
            rows.append({"crop": f"crops/{pick.name}.png", "id": pick.id, "uri": pick.uri, **place, "rank": pick.rank})
    table = job.out / "crops.csv"
    write_rows(table, sorted(rows, key=lambda row: int(row["rank"])), CROP_COLUMNS)
    return table, job.out / "crops"


def _coco(job: Export, picks: tuple[Chosen, ...]) -> tuple[Path, ...]:
    """One annotations file; a box of category 1 says where to label."""
    images, annotations = [], []
    for number, sized in enumerate(_sized(picks), start=1):
        images.append({"id": number, "file_name": sized.uri, "width": sized.width, "height": sized.height})
        annotations += [
            {"image_id": number, **_box(pick.region or Region(0, 0, sized.width, sized.height)), "sample_id": pick.id}
            for pick in sized.picks
        ]
    names = [TO_LABEL, *classes_of(job.selection)]
    path = job.out / "annotations.json"
    write_json(
        path,
        {
            "images": images,
            "annotations": [{"id": number, **one} for number, one in enumerate(annotations, start=1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
        },
    )
    return (path,)


def _box(region: Region) -> dict[str, Any]:
    left, top, right, lower = region.box
    return {
        "category_id": 1,
        "bbox": list(region),
        "area": region.pixels,
        "segmentation": [[left, top, right, top, right, lower, left, lower]],
        "iscrowd": 0,
    }


def _label_studio(job: Export, picks: tuple[Chosen, ...]) -> tuple[Path, ...]:
    """One task an image, its regions as rectangles of a prediction, and a configuration with the model's classes."""
    tasks = [_task(sized, job.prefix) for sized in _sized(picks)]
    write_json(job.out / "tasks.json", tasks)
    write_text(job.out / "config.xml", _config(classes_of(job.selection)))
    return job.out / "tasks.json", job.out / "config.xml"


def _task(sized: _Sized, prefix: str) -> dict[str, Any]:
    address = prefix + quote(sized.uri.lstrip("/")) if prefix else sized.uri
    rectangles = [
        {
            "id": f"{pick.name}",
            "type": "rectanglelabels",
            "from_name": "region",
            "to_name": "image",
            "original_width": sized.width,
            "original_height": sized.height,
            "value": {**_percent(pick.region, sized), "rotation": 0, "rectanglelabels": [TO_LABEL]},
        }
        for pick in sized.picks
        if pick.region is not None
    ]
    data = {"image": address, "uri": sized.uri, "ids": [pick.id for pick in sized.picks]}
    return {"data": data, "predictions": [{"model_version": "foresift", "result": rectangles}] if rectangles else []}


def _percent(region: Region, sized: _Sized) -> dict[str, float]:
    """A region as Label Studio counts: in hundredths of the image's sides."""
    return {
        "x": 100 * region.left / sized.width,
        "y": 100 * region.top / sized.height,
        "width": 100 * region.width / sized.width,
        "height": 100 * region.height / sized.height,
    }


def _config(classes: tuple[str, ...]) -> str:
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in classes)
    brushes = f'  <BrushLabels name="class" toName="image">\n{labels}\n  </BrushLabels>\n' if classes else ""
    rectangle = f'  <RectangleLabels name="region" toName="image">\n    <Label value="{TO_LABEL}"/>\n'
    return (
        f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n{rectangle}  </RectangleLabels>\n'
        f"{brushes}</View>\n"
    )


def _sized(picks: tuple[Chosen, ...]) -> list[_Sized]:
    return [_Sized(uri, pixels.shape[1], pixels.shape[0], own) for uri, own, pixels in by_image(picks)]


def _write_png(path: Path, image: Image.Image) -> None:
    write_atomically(path, lambda target: image.save(target, format="PNG"))


FORMATS: Mapping[str, Callable[[Export, tuple[Chosen, ...]], tuple[Path, ...]]] = {
    "crops": _crops,
    "coco": _coco,
    "label-studio": _label_studio,
}
"""Writers by name."""
