"""People who label at a page of this workspace: their answers go straight into its records."""

from __future__ import annotations

from dataclasses import dataclass

from foresift.core.oracles import Answers, Desk, Inquiry, Oracle
from foresift.oracles.registry import oracle


@oracle("people")
@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """People answer with ``foresift label`` or ``foresift labels import``, when they find the time."""

    def open(self, desk: Desk) -> Oracle:  # noqa: ARG002 - the records are all they need
        """The oracle for one run."""
        return Records()


@dataclass(frozen=True, slots=True)
class Records:
    """Nothing to carry: the round says what is asked, and the answers are stored as they are given."""

    name: str = "people"

    def send(self, inquiry: Inquiry) -> None:
        """Nothing: the page reads the round."""

    def collect(self, inquiry: Inquiry, *, since: str = "") -> Answers:  # noqa: ARG002
        """Nothing: what was answered is in the records."""
        return Answers((), since)

    def can_answer(self, inquiry: Inquiry) -> bool:  # noqa: ARG002
        """Always."""
        return True
