"""Answers from files: rows of tables and drawn masks, turned into labels of samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from foresift.app.sample_names import SampleNames
from foresift.app.selecting.chosen import Chosen
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError
from foresift.core.labels import LabelRecord
from foresift.core.oracles import FileAnswers, Inquiry, Question, Refusal
from foresift.core.regions import split_id
from foresift.core.rounds import SampleId
from foresift.cycle.labels import contradictions, foreign_class, spelled_value
from foresift.inference.masks import decode_mask
from foresift.sources.answers import AnswerFile, read_answers, written_at
from foresift.sources.read import fetch
from foresift.sources.tables import READERS
from foresift.stores.files import write_atomically

MASK_SUFFIX = ".png"
SUFFIXES = frozenset({*READERS, MASK_SUFFIX})
"""Of files that may hold answers."""


@dataclass(frozen=True, kw_only=True)
class AnswerReader:
    """Reads files of answers for one run."""

    workspace: Workspace
    names: SampleNames
    annotator: str = ""
    """Of rows that name none."""

    def __call__(self, path: Path, inquiry: Inquiry) -> FileAnswers:
        """The answers of a table or of a drawn mask, by the file's suffix.

        Raises:
            DataError: it is neither, or can't be read as one at all.
        """
        if path.suffix.lower() == MASK_SUFFIX:
            return self._mask(path, inquiry)
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

    def _mask(self, path: Path, inquiry: Inquiry) -> FileAnswers:
        """A PNG of class numbers under the name of what was asked for; its bytes are kept in the workspace."""
        name = path.stem
        question = mask_names(inquiry.questions).get(name)
        if question is None:
            reason = "belongs to no sample that was asked for; name it like the image, or like the crop of the patch"
            return FileAnswers((), (Refusal(path.name, reason),))
        data = fetch(str(path))
        if reason := _wrong_size(data, question):
            return FileAnswers((), (Refusal(path.name, reason),))
        label = LabelRecord(
            sample_id=question.sample_id,
            value=keep_mask(self.workspace, data),
            pool=inquiry.pool,
            run=inquiry.run or None,
            annotator=self.annotator,
            at=written_at(path),
            source=f"file:{path.name}",
        )
        return FileAnswers((label,), ())


def mask_names(questions: Sequence[Question]) -> dict[str, Question]:
    """The names, without suffix, under which the mask of a sample may come back.

    That of its crop (as ``foresift export --format crops`` writes it), of its image with the digest of its address,
    or of its image alone where only one sample has it.
    """
    found: dict[str, Question] = {}
    plain = Counter(name for _, (*_, name) in _spellings(questions))
    for question, (crop, image, name) in _spellings(questions):
        region = split_id(question.sample_id)[1]
        for spelling in (crop, *([] if region else [image]), *([name] if plain[name] == 1 else [])):
            found.setdefault(spelling, question)
    return found


def _spellings(questions: Sequence[Question]) -> Iterator[tuple[Question, tuple[str, str, str]]]:
    for one in questions:
        pick = Chosen(rank=one.rank, id=str(one.sample_id), uri=one.uri, region=split_id(one.sample_id)[1])
        yield one, (pick.name, pick.image_name, Path(one.uri).stem)


def keep_mask(workspace: Workspace, data: bytes) -> str:
    """Keep a mask that somebody drew under its content digest; its address below the workspace's home."""
    address = f"masks/{digest_bytes(data)}.png"
    path = workspace.home / address
    if not path.is_file():
        write_atomically(path, lambda target: _fill(target, data))
    return address


def mask_path(workspace: Workspace, address: str) -> Path:
    """Where the mask of an address lies: one that came back is kept below the workspace's home."""
    return workspace.home / address


def _wrong_size(data: bytes, question: Question) -> str:
    """Why a mask does not fit its image or region; "" if it does."""
    try:
        height, width = decode_mask(data).shape
        with Image.open(question.uri) as image:
            whole = image.size
    except (DataError, OSError) as error:
        return str(error)
    region = split_id(question.sample_id)[1]
    fitting = [whole, *([(region.width, region.height)] if region else [])]
    if (width, height) in fitting:
        return ""
    expected = " or ".join(f"{w} x {h}" for w, h in fitting)
    return f"the mask is {width} x {height} pixels, expected {expected}"


def _complaint(sample: SampleId | None, name: str, value: str, inquiry: Inquiry) -> str:
    if sample is None:
        return f"pool {inquiry.pool} has no sample {name!r}"
    return foreign_class(value, inquiry.classes)


def _line(refusal: Refusal) -> int:
    digits = refusal.place.rpartition(" ")[2]
    return int(digits) if digits.isdecimal() else 0


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)
