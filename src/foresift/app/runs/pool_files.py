"""The files of a run's pool, in its folder: what may be chosen, what it is measured on, the truth, and the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from foresift.core.masks import MaskClasses
from foresift.core.oracles import CLASSIFICATION, SEGMENTATION
from foresift.core.regions import split_id
from foresift.core.rounds import SampleId
from foresift.stores.files import read_json, write_json

CANDIDATES, EVALUATION, TRUTH = "candidates.parquet", "evaluation.parquet", "truth.parquet"
_RECORD = "pool.json"
Columns: TypeAlias = Mapping[str, Sequence[Any]]
"""Of a table, by name; equally long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPool:
    """The pool of a run as it first saw it; its tables lie in the run's folder."""

    name: str
    version: str
    size: int
    """Samples that may be chosen."""
    evaluation_size: int
    classes: list[str] = field(default_factory=list)
    """In the order of the logits; empty where nobody knows them yet."""
    notes: list[str] = field(default_factory=list)
    task: str = CLASSIFICATION
    masks: dict[str, Any] = field(default_factory=dict)
    """What values in masks stand for: ``classes``, ``values`` and ``ignored``; empty where labels are classes."""

    @property
    def has_masks(self) -> bool:
        """Whether its labels are masks."""
        return self.task == SEGMENTATION

    @property
    def mask_classes(self) -> MaskClasses | None:
        """How masks are read; None where labels are classes."""
        return mask_classes(self.masks) if self.masks else None


def keep_pool(folder: Path, pool: RunPool) -> None:
    """Write the record, once the tables that it speaks of are there."""
    write_json(folder / _RECORD, asdict(pool))


def mask_classes(plain: Mapping[str, Any]) -> MaskClasses:
    """What a record says that values in masks stand for."""
    return MaskClasses(**{name: tuple(plain[name]) for name in ("classes", "values", "ignored")})


def kept_pool(folder: Path) -> RunPool | None:
    """The pool of the run that has this folder; None while it has none."""
    record = folder / _RECORD
    if not record.is_file():
        return None
    known = {f.name for f in fields(RunPool)}  # a newer version may have written more
    return RunPool(**{name: value for name, value in read_json(record).items() if name in known})


def table_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of one of a run's tables."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def table_columns(path: Path, *names: str) -> tuple[list[Any], ...]:
    """Columns of one of a run's tables; a row of a million is not made for them."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=list(names))
    return tuple(table[name].to_pylist() for name in names)


def table_values(path: Path, ids: Sequence[SampleId], name: str) -> dict[SampleId, Any]:
    """A column of one of a run's tables for some of its samples, by id; the others never become Python objects."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["id", name])
    kind = table["id"].type
    fitting = [one for one in ids if isinstance(one, int) == pa.types.is_integer(kind)]
    found = table.filter(pc.is_in(table["id"], value_set=pa.array(fitting, kind)))
    return dict(zip(found["id"].to_pylist(), found[name].to_pylist(), strict=True))


def image_values(path: Path, samples: Sequence[SampleId], name: str) -> dict[SampleId, Any]:
    """The same for samples that may be regions of images: what the table says of their images."""
    images = {sample: image_of(sample) for sample in samples}
    known = table_values(path, list(dict.fromkeys(images.values())), name)
    return {sample: known[image] for sample, image in images.items() if image in known}


def image_of(sample: SampleId) -> SampleId:
    """The image that a sample is, or is a region of."""
    image, region = split_id(sample)
    return sample if region is None else image
