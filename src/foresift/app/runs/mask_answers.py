"""Answers that are masks: drawn files under the names of images or crops, checked, and kept by their content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from foresift.app.runs.kept_masks import keep_mask, mask_complaint, part_of
from foresift.app.selecting.chosen import Chosen
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError
from foresift.core.labels import LabelRecord
from foresift.core.masks import MaskClasses, MaskValues
from foresift.core.oracles import FileAnswers, Inquiry, Question, Refusal
from foresift.core.regions import split_id
from foresift.inference.decode import upright_size
from foresift.inference.masks import decode_mask
from foresift.sources.answers import written_at
from foresift.sources.read import fetch

MASK_SUFFIX = ".png"
_SHOWN = 4
_NOBODY = "belongs to no sample that was asked for; name it like the image, or like the crop of the patch"


@dataclass(frozen=True, kw_only=True)
class MaskReader:
    """Reads masks for one run."""

    workspace: Workspace
    classes: MaskClasses | None = None
    """What values stand for; None = nobody knows, anything is taken."""

    def __call__(self, path: Path, inquiry: Inquiry, *, annotator: str = "") -> FileAnswers:
        """A PNG of class numbers under the name of what was asked for; its bytes are kept in the workspace.

        Raises:
            DataError: the file can't be read at all.
        """
        names = mask_names((*inquiry.questions, *inquiry.earlier))
        question = names.one.get(path.stem)
        if question is None and path.stem in names.several:
            return _refused(path, _ambiguous(names.several[path.stem]))
        if question is None:
            return _refused(path, _NOBODY)._replace(for_now=True)
        data = fetch(str(path))
        try:
            height, width = upright_size(fetch(question.uri))
        except DataError as error:
            return _refused(path, f"its image {question.uri} can't be read now: {error}")._replace(for_now=True)
        if reason := self._complaint(data, height, width, question):
            return _refused(path, reason)
        label = LabelRecord(
            sample_id=question.sample_id,
            value=keep_mask(self.workspace, data),
            pool=inquiry.pool,
            run=inquiry.run or None,
            annotator=annotator,
            at=written_at(path),
            source=f"file:{path.name}",
        )
        return FileAnswers((label,), ())

    def _complaint(self, data: bytes, height: int, width: int, question: Question) -> str:
        """Why a mask does not fit its image, its region or the classes; "" if it does."""
        try:
            values = decode_mask(data)
        except DataError as error:
            return str(error)
        return _unfit(values, height, width, question, self.classes)


class MaskNames(NamedTuple):
    """The names, without suffix, under which the mask of a sample may come back."""

    one: Mapping[str, Question]
    several: Mapping[str, Sequence[str]]
    """Names of images that more than one sample has, and the longer names that tell them apart."""


@lru_cache(maxsize=4)
def mask_names(questions: tuple[Question, ...]) -> MaskNames:
    """What masks of samples may be named.

    Like its crop (as ``foresift export --format crops`` writes it), like its image with the digest of its address,
    or like its image alone where only one sample has it.
    """
    one: dict[str, Question] = {}
    several: dict[str, list[str]] = {}
    distinct = {question.sample_id: question for question in questions}
    plain = Counter(name for _, (*_, name) in _spellings(distinct.values()))
    for question, (crop, image, name) in _spellings(distinct.values()):
        region = split_id(question.sample_id)[1]
        for spelling in (crop, *([] if region else [image]), *([name] if plain[name] == 1 else [])):
            one.setdefault(spelling, question)
        if plain[name] > 1:
            several.setdefault(name, []).append(crop)
    return MaskNames(one, several)


def _spellings(questions: Iterable[Question]) -> Iterator[tuple[Question, tuple[str, str, str]]]:
    for one in questions:
        pick = Chosen(rank=one.rank, id=str(one.sample_id), uri=one.uri, region=split_id(one.sample_id)[1])
        yield one, (pick.name, pick.image_name, Path(one.uri).stem)


def _ambiguous(known: Sequence[str]) -> str:
    shown = ", ".join(f"{one}{MASK_SUFFIX}" for one in known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    return f"belongs to more than one sample that was asked for; name it like one of {shown}"


def _unfit(values: MaskValues, height: int, width: int, question: Question, classes: MaskClasses | None) -> str:
    region = split_id(question.sample_id)[1]
    if region is None:
        return mask_complaint(values, height, width, classes)
    if values.shape not in ((height, width), (region.height, region.width)):
        came, whole = f"{values.shape[1]} x {values.shape[0]}", f"{width} x {height}"
        return f"the mask is {came} pixels, expected {whole} or {region.width} x {region.height}"
    return mask_complaint(part_of(values, region), region.height, region.width, classes)


def _refused(path: Path, reason: str) -> FileAnswers:
    return FileAnswers((), (Refusal(path.name, reason),))
