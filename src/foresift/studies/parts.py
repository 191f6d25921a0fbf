"""A study in parts, one for each worker of a crew: whoever makes a cell writes it into the study's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from foresift.core.protocols import Progress, Silent
from foresift.executors import Crew

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """Every ``of``-th piece of a study, beginning with the one of this number; of no parts, nothing."""

    number: int
    of: int

    def among(self, pieces: Sequence[T]) -> list[T]:
        """The pieces of this part; each piece is one part's."""
        return list(pieces[self.number :: self.of]) if self.of else []


WHOLE = Part(0, 1)
NOTHING = Part(0, 0)
"""What comes before the first cell alone: decoding, embedding."""
PARTS_EACH = 2
"""For every worker: more parts wait less for the last one, and load the images more often."""


def share_parts(
    crew: Crew, study: str, folder: Path, asked: Mapping[str, Any], *, progress: Progress | None = None
) -> None:
    """Have every cell made by the crew. The folder must be the same on all of its machines.

    Args:
        study: a name of :data:`foresift.studies.workers.STUDIES`.
        asked: arguments of the study, as plain values.
    Raises:
        ForesiftError: as the study itself, or as :meth:`Crew.share`.
    """
    told, count = progress or Silent(), PARTS_EACH * crew.room()
    common = {**asked, "study": study, "folder": str(folder.absolute()), "threads": _threads()}
    list(crew.share("study", [{**common, "number": NOTHING.number, "of": NOTHING.of}]))
    told.start(f"sharing the study {study}", count)
    for _ in crew.share("study", [{**common, "number": number, "of": count} for number in range(count)]):
        told.advance(1)
    told.done()


def _threads() -> int:
    """Of torch here: sums of a training are rounded in the order that their number gives."""
    import torch

    return torch.get_num_threads()
