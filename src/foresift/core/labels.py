"""What people and files answered: every answer is kept, the last one of each annotator counts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from foresift.core.digests import digest_bytes
from foresift.core.errors import LabelError
from foresift.core.regions import Region
from foresift.core.rounds import SampleId

CANNOT_TELL = "cannot-tell"
"""The value of an answer that names no class: asked, paid, and not to be asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    """One answer to one sample, as it was given."""

    sample_id: SampleId
    value: str
    """A class, the address of a mask, or ``cannot-tell``."""
    pool: str
    """Name of the pool that the sample is of."""
    run: str | None = None
    """Id of the run that asked; None for labels brought along. Answers to different runs never replace each other."""
    round: int | None = None
    """Number of the round that the answer counts for."""
    region: Region | None = None
    annotator: str = ""
    """Who answered; "" where nobody is named."""
    at: str = ""
    """When it was answered: ISO 8601, UTC, or "". It must be the same each time the answer is delivered."""
    cost: float | None = None
    """Price of the answer; None = unknown."""
    source: str = ""
    """What delivered it: a file, a server."""
    supersedes: str | None = None
    """Id of the answer that this one corrects. The store fills in the annotator's own previous one."""
    id: str = field(default="", compare=False)
    """Content key, made from the fields that say what was answered: never pass it, except when reading back."""

    def __post_init__(self) -> None:
        if isinstance(self.sample_id, bool) or not isinstance(self.sample_id, str | int):
            raise LabelError(f"a label names its sample by text or an integer, got {self.sample_id!r}")
        if not isinstance(self.value, str) or not self.value:
            raise LabelError(
                f"sample {self.sample_id!r}: expected a class, a mask or {CANNOT_TELL}, got {self.value!r}"
            )
        if self.cost is not None and not (math.isfinite(self.cost) and self.cost >= 0):
            raise LabelError(f"sample {self.sample_id!r}: a cost is 0 or more, got {self.cost!r}")
        if not self.id:
            object.__setattr__(self, "id", self._key())

    @property
    def tells(self) -> bool:
        """Whether it names a class or a mask, and not ``cannot-tell``."""
        return self.value != CANNOT_TELL

    @property
    def place(self) -> tuple[str, str | None, SampleId, Region | None]:
        """What is answered: answers to the same place by the same annotator replace each other."""
        return self.pool, self.run, self.sample_id, self.region

    def _key(self) -> str:
        """Digest of place, annotator, time, value and what it corrects: the same answer has the same key."""
        region = None if self.region is None else list(self.region)
        answer = [self.annotator, self.at, self.value, self.supersedes]
        key = [self.pool, self.run, self.sample_id, region, *answer]
        return digest_bytes(json.dumps(key).encode())  # in ASCII: names of files need not be Unicode


class Disagreement(NamedTuple):
    """A sample that annotators label differently; those who can't tell don't count."""

    sample_id: SampleId
    answers: tuple[LabelRecord, ...]
    """The current ones, in order of arrival; two or more values among them."""
