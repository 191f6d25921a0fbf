"""Which delivered answers are new, which repeat what is known, and what they supersede."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from foresift.core.errors import LabelError, UsageError
from foresift.core.labels import Disagreement, LabelRecord
from foresift.core.records import Added
from foresift.stores.records.rows import Row, label_row

Place = tuple[str, str, str, str]
"""pool, run, sample, region, as in the rows."""


def place_of(row: Mapping[str, str]) -> Place:
    """What a row answers."""
    return row["pool"], row["run"], row["sample"], row["region"]


class Said(NamedTuple):
    """An annotator's current answer to a place."""

    id: str
    value: str


@dataclass
class Delivery:
    """Answers that are being settled one after the other, against what was known before."""

    known: dict[str, Place]
    """By id, as far as the delivered answers name them: those there already, and those that they supersede."""
    current: dict[Place, dict[str, Said]]
    """By place, then by annotator, for the places that are answered."""
    rows: dict[str, Row] = field(default_factory=dict)
    """To be inserted, by id, in order of arrival; with a column ``superseded``."""
    superseded: set[str] = field(default_factory=set)
    """Ids of stored answers that are no longer current."""
    new: int = 0
    repeated: int = 0

    def settle(self, labels: Iterable[LabelRecord]) -> Added:
        """Take in answers in order.

        Raises:
            LabelError: one supersedes an answer that is not there, or one to another place.
        """
        for label in labels:
            self._settle(label)
        return Added(self.new, self.repeated)

    def _settle(self, label: LabelRecord) -> None:
        if label.id in self.known:
            self.repeated += 1
            return
        row = label_row(label)
        place = place_of(row)
        self._check(label, place)
        self.known[label.id] = place
        said = self.current.setdefault(place, {})
        own = said.get(label.annotator)
        if own is not None and own.value == label.value and label.supersedes in (None, own.id):
            # Kept as history all the same: delivered again after a correction, it must not count as a newer answer.
            self.rows[label.id] = row | {"superseded": True}
            self.repeated += 1
            return
        if own is not None:
            self._retire(own.id, said)
            row["supersedes"] = label.supersedes or own.id
        if label.supersedes is not None:
            self._retire(label.supersedes, said)
        self.rows[label.id] = row | {"superseded": False}
        said[label.annotator] = Said(label.id, label.value)
        self.new += 1

    def _check(self, label: LabelRecord, place: Place) -> None:
        target = label.supersedes
        if target is not None and self.known.get(target) != place:
            found = "is to another sample, run or region" if target in self.known else "is not known"
            raise LabelError(
                f"sample {label.sample_id!r}: an answer supersedes answer {target}, which {found}; "
                "corrections come after what they correct"
            )

    def _retire(self, answer: str, said: dict[str, Said]) -> None:
        if answer in self.rows:
            self.rows[answer]["superseded"] = True
        else:
            self.superseded.add(answer)
        for annotator in [name for name, one in said.items() if one.id == answer]:
            del said[annotator]


def disagreements(current: Iterable[LabelRecord]) -> tuple[Disagreement, ...]:
    """Places whose answers name two values or more, in the order in which they were first answered. O(answers)."""
    places: dict[object, list[LabelRecord]] = {}
    for label in current:
        if label.tells:
            places.setdefault((label.pool, label.sample_id, label.region), []).append(label)
    return tuple(
        Disagreement(answers[0].sample_id, tuple(answers))
        for answers in places.values()
        if len({label.value for label in answers}) > 1
    )


def check_asked(run: str | None, pool: str | None) -> None:
    """Raise :class:`UsageError` unless answers are asked for by run or pool."""
    if run is None and pool is None:
        raise UsageError("labels are asked for by run or by pool, got neither")
