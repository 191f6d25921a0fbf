"""Whoever answers with labels: what a round asks, what comes back, and what every oracle promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from foresift.core.labels import LabelRecord
from foresift.core.rounds import SampleId

CLASSIFICATION = "classification"
SEGMENTATION = "segmentation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One sample that a round asks for."""

    sample_id: SampleId
    uri: str
    rank: int
    """From 1, the most wanted first."""
    score: float | None = None
    """Higher = more informative; None where the strategy gives no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What a round of a run asks."""

    run: str
    pool: str
    round: int
    questions: tuple[Question, ...]
    """In order of rank."""
    classes: tuple[str, ...] = ()
    """What may be answered; empty = nobody knows yet."""
    task: str = CLASSIFICATION
    """``classification``: the answer is a class; ``segmentation``: the address of a mask."""
    earlier: tuple[Question, ...] = ()
    """What the run has asked beside this: masks may come late, or correct earlier ones."""


class Refusal(NamedTuple):
    """An answer that can't be taken."""

    place: str
    """Where it stands, such as ``line 7`` or ``annotation 31``."""
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"

    def of(self, file: str) -> Refusal:
        """The same, with the file's name, where several files are spoken of."""
        return self if self.place == file else Refusal(f"{file}, {self.place}", self.reason)


class Answers(NamedTuple):
    """What an oracle delivers at once."""

    labels: tuple[LabelRecord, ...]
    """In the order in which they were given; ``round`` is filled in by whoever knows what was asked when."""
    cursor: str
    """Give it as ``since`` the next time, once the labels are stored."""
    refused: tuple[Refusal, ...] = ()


class Oracle(Protocol):
    """Answers with labels: the truth of a study, files in a folder, people at a page, a labeling server.

    - ``send`` may be repeated: a sample is put before nobody twice.
    - ``collect`` forgets nothing: with the same ``since`` it delivers at least the same labels again, each under
      the same ``id``, so that a caller that dies between two steps loses none and buys none twice.
    - What is delivered may answer earlier rounds of the run (late), correct earlier answers, or name samples that
      were never asked for; the caller sorts that out (:mod:`foresift.cycle.labels`).
    """

    @property
    def name(self) -> str:
        """What the registry calls it."""
        ...

    def send(self, inquiry: Inquiry) -> None:
        """Put the questions of a round where they are answered.

        Raises:
            OracleError: nobody can be asked there now; sending may be repeated later.
        """
        ...

    def collect(self, inquiry: Inquiry, *, since: str = "") -> Answers:
        """Answers that arrived after ``since``; all of them for "". Never waits for people.

        Raises:
            OracleError: what holds the answers can't be reached now.
        """
        ...

    def can_answer(self, inquiry: Inquiry) -> bool:
        """Whether questions without an answer may still get one; if not, waiting for them is no use."""
        ...


class FileAnswers(NamedTuple):
    """What a file of answers says."""

    labels: tuple[LabelRecord, ...]
    refused: tuple[Refusal, ...]
    for_now: bool = False
    """Whether all of it was refused only for now, as where nobody has asked for its sample yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an oracle may use of the place where it works."""

    run: str
    pool: str
    folder: Path
    """The oracle's own for this run; made when it is needed."""
    truth: Callable[[Sequence[SampleId]], Sequence[str]]
    """The pool's own label of each sample, or the address of its mask; "" where it has none."""
    read: Callable[[Path, Inquiry], FileAnswers]
    """The answers in a file; raises ``DataError`` if it can't be read as one at all."""
    report: Callable[[Path, str], None]
    """Writes a text file, whole or not at all."""
    fetch: Callable[[str], bytes]
    """Bytes behind an address; raises ``DataError``."""
    keep: Callable[[bytes], str]
    """Keeps the bytes of a mask in the workspace, once; its address."""


class OracleSettings(Protocol):
    """What a registered oracle is made of: a frozen dataclass of plain values."""

    def open(self, desk: Desk) -> Oracle:
        """The oracle for one run."""
        ...
