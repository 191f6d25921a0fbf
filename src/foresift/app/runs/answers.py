"""Answers from files: rows of tables and drawn masks, turned into labels of samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foresift.app.runs.mask_answers import MASK_SUFFIX, MaskReader
from foresift.app.sample_names import SampleNames
from foresift.app.workspace import Workspace
from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.oracles import SEGMENTATION, FileAnswers, Inquiry, Refusal
from foresift.core.rounds import SampleId
from foresift.cycle.labels import contradictions, foreign_class, spelled_value
from foresift.sources.answers import AnswerFile, read_answers
from foresift.sources.tables import READERS

SUFFIXES = frozenset({*READERS, MASK_SUFFIX})
"""Of files that may hold answers."""


@dataclass(frozen=True, kw_only=True)
class AnswerReader:
    """Reads files of answers for one run."""

    workspace: Workspace
    names: SampleNames
    annotator: str = ""
    """Of rows that name none."""
    masks: MaskReader | None = None
    """Reads masks; None = by the questions of each inquiry alone."""

    def __call__(self, path: Path, inquiry: Inquiry) -> FileAnswers:
        """The answers of a table or of a drawn mask, by the file's suffix.

        Raises:
            DataError: it is neither, or can't be read as one at all.
        """
        if path.suffix.lower() == MASK_SUFFIX:
            return (self.masks or MaskReader(workspace=self.workspace))(path, inquiry, annotator=self.annotator)
        return self._table(read_answers(path), inquiry)

    def _table(self, file: AnswerFile, inquiry: Inquiry) -> FileAnswers:
        """Every row that names a sample and a class, and why each other one can't be taken."""
        samples = self.names.find([(row.sample, row.uri) for row in file.rows])
        labels: list[LabelRecord] = []
        places: list[str] = []
        refused, source = list(file.refused), f"file:{Path(file.path).name}"
        for row, sample in zip(file.rows, samples, strict=True):
            value = spelled_value(row.label)
            if reason := _complaint(sample, row.sample or row.uri, value, inquiry):
                refused.append(Refusal(row.place, reason))
                continue
            assert sample is not None  # noqa: S101 - an unknown one is complained of
            labels.append(
                LabelRecord(
                    sample_id=sample,
                    value=value,
                    pool=inquiry.pool,
                    run=inquiry.run or None,
                    annotator=row.annotator or self.annotator,
                    at=row.at,
                    cost=row.cost,
                    source=source,
                )
            )
            places.append(row.place)
        again = contradictions(labels, places.__getitem__)
        unclear = {one.place for one in again}
        kept = tuple(label for label, place in zip(labels, places, strict=True) if place not in unclear)
        return FileAnswers(kept, tuple(sorted((*refused, *again), key=_line)))


def _complaint(sample: SampleId | None, name: str, value: str, inquiry: Inquiry) -> str:
    if sample is None:
        return f"pool {inquiry.pool} has no sample {name!r}"
    if inquiry.task == SEGMENTATION:
        told = f"this run takes masks: PNG files named like the images; a table can only say {CANNOT_TELL}"
        return "" if value == CANNOT_TELL else told
    return foreign_class(value, inquiry.classes)


def _line(refusal: Refusal) -> int:
    digits = refusal.place.rpartition(" ")[2]
    return int(digits) if digits.isdecimal() else 0
