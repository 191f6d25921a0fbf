"""The truth that a pool brings along: class folders, the labels of a manifest, masks beside the images."""

from __future__ import annotations

from dataclasses import dataclass

from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.oracles import Answers, Desk, Inquiry, Oracle
from foresift.oracles.registry import oracle

ANNOTATOR = "truth"


@oracle("folders", aliases=("truth",))
@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """The pool's own labels answer at once; for studies and simulated runs."""

    def open(self, desk: Desk) -> Oracle:
        """The oracle for one run."""
        return Truth(desk=desk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Answers every question of a round the first time it is asked, and ``cannot-tell`` where the pool has no label."""

    desk: Desk
    name: str = "folders"

    def send(self, inquiry: Inquiry) -> None:
        """Nothing: the pool knows already."""

    def collect(self, inquiry: Inquiry, *, since: str = "") -> Answers:
        """The labels of the round's samples; nothing once a round of that number was collected."""
        if since.isdecimal() and int(since) >= inquiry.round:
            return Answers((), since)
        samples = [question.sample_id for question in inquiry.questions]
        labels = tuple(
            LabelRecord(
                sample_id=sample,
                value=value or CANNOT_TELL,
                pool=inquiry.pool,
                run=inquiry.run,
                round=inquiry.round,
                annotator=ANNOTATOR,
                source=self.name,
            )
            for sample, value in zip(samples, self.desk.truth(samples), strict=True)
        )
        return Answers(labels, str(inquiry.round))

    def can_answer(self, inquiry: Inquiry) -> bool:  # noqa: ARG002
        """Never: what the pool knows comes at once."""
        return False
