"""What ``foresift label`` shows of a round, and how answers get into the records of its run."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foresift.app.runs.labeling import Labeling, Shown, checked_classes
from foresift.app.runs.labels import chosen_run
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.oracles import SEGMENTATION
from foresift.core.records import Records
from foresift.core.rounds import Round, Run, SampleId
from foresift.core.times import utc_now
from foresift.cycle.labels import Terms, admit, foreign_class, verdicts

SOURCE = "page"
_NAMED = re.compile(r"(.+)[/.](\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundBoard:
    """The answers to a round, as one annotator sees and gives them; kept in the records of the run."""

    records: Records
    run: Run
    asked: tuple[SampleId, ...]
    """By rank."""
    terms: Terms
    annotator: str
    alone: bool = False
    """Whether what others answered is not looked at, so that agreement can be measured."""
    takes_back: bool = False
    """Answers are history: another one corrects them, none undoes them."""

    def answers(self) -> Sequence[str]:
        """(n,) this annotator's own answer, else what the others' amount to; "" = open."""
        return self._standing(self.asked)

    def put(self, row: int, value: str, *, seen: str) -> str:
        """Answer if what the person saw still stands; gives what stands now.

        Raises:
            StoreError: the records can't be reached; nothing was kept.
        """
        with self.records.transaction():
            now = self._standing(self.asked[row : row + 1])[0]
            if now != seen or now == value or not value:
                return now
            self.records.add_labels(admit([self._answer(self.asked[row], value)], self.terms).labels)
            return value

    def _standing(self, samples: Sequence[SampleId]) -> list[str]:
        current = self.records.labels(run=self.run.id, samples=samples)
        said = {one.sample_id: one.value for one in current if one.annotator == self.annotator}
        others = {} if self.alone else {key: one.value for key, one in verdicts(current).items()}
        return [said.get(sample) or others.get(sample, "") for sample in samples]

    def _answer(self, sample: SampleId, value: str) -> LabelRecord:
        return LabelRecord(
            sample_id=sample,
            value=value,
            pool=self.run.pool,
            run=self.run.id,
            annotator=self.annotator,
            at=utc_now(),
            source=SOURCE,
        )


def label_round(
    workspace: Workspace, spec: str, *, classes: Sequence[str] = (), annotator: str = "", alone: bool = False
) -> Labeling:
    """The labeling of a round: ``RUN/NUMBER``, ``RUN.NUMBER``, or a run, which means its round that waits.

    Args:
        classes: what may be answered; () = the classes of the run.
        annotator: whose answers they are; "" = the user of this machine.
        alone: ask for everything, whatever others answered.
    Raises:
        UsageError: no such run or round, none that waits, or classes that are not those of the run.
    """
    records = workspace.records()
    run, number = _found(records, spec)
    if run.config.get("task") == SEGMENTATION:
        raise UsageError(f"run {run.id} takes masks, which this page can't draw; foresift runs show {run.id} says how")
    rounds = records.rounds(run.id)
    current = _round(run, rounds, number)
    board = RoundBoard(
        records=records,
        run=run,
        asked=current.selected,
        terms=_terms(run, rounds),
        annotator=annotator or getpass.getuser(),
        alone=alone,
    )
    return Labeling(
        name=f"Round {current.number} of {Path(run.pool).name or run.pool}",
        shown=_shown(records, run, current),
        classes=_classes(run, classes, board.answers()),
        board=board,
        kept=f"the records of run {run.id}",
        next_command=f"foresift runs resume {run.id}",
        annotator=board.annotator,
        notes=_notes(current),
    )


def _found(records: Records, spec: str) -> tuple[Run, int | None]:
    """A run, and the number of the round if one is named."""
    named = _NAMED.fullmatch(spec)
    if named is None:
        return chosen_run(records, spec), None
    return chosen_run(records, named[1]), int(named[2])


def _round(run: Run, rounds: Sequence[Round], number: int | None) -> Round:
    if number is not None and not 1 <= number <= len(rounds):
        raise UsageError(f"run {run.id} has no round {number}; it has {len(rounds)}")
    waiting = [one for one in rounds if one.state == "labeling"]
    if number is None and not waiting:
        raise UsageError(
            f"run {run.id} is {run.state} and has no round that waits for labels;"
            f" name one to correct its labels, such as {run.id}/{_first_asked(rounds)}"
        )
    found = waiting[0] if number is None else rounds[number - 1]
    if not found.selected and not found.budget:
        raise UsageError(
            f"round {found.number} of run {run.id} learned from inherited labels and asked for nothing; take "
            f"{run.id}/{_first_asked(rounds)}"
        )
    if not found.selected:
        raise UsageError(
            f"round {found.number} of run {run.id} has asked for nothing yet; foresift runs resume {run.id}"
        )
    return found


def _first_asked(rounds: Sequence[Round]) -> int:
    """The first round that buys labels."""
    return next((one.number for one in rounds if one.budget), 1)


def _terms(run: Run, rounds: Sequence[Round]) -> Terms:
    asked: dict[SampleId, int] = {}
    for one in rounds:
        for sample in one.selected:
            asked.setdefault(sample, one.number)
    return Terms(asked=asked, classes=tuple(run.config.get("classes") or ()), price=run.config.get("label_price"))


def _classes(run: Run, given: Sequence[str], said: Sequence[str]) -> tuple[str, ...]:
    own = tuple(run.config.get("classes") or ())
    foreign = next(filter(None, (foreign_class(name, own) for name in given)), "")
    if foreign:
        raise UsageError(f"--classes: {foreign}")
    return checked_classes(given or own, said=[value for value in said if value != CANNOT_TELL])


def _shown(records: Records, run: Run, current: Round) -> tuple[Shown, ...]:
    uris = {one.id: one.uri for one in records.samples(run.pool, ids=current.selected)}
    lost = next((sample for sample in current.selected if not uris.get(sample)), None)
    if lost is not None:
        raise UsageError(f"the workspace knows no address of sample {lost!r}; label with foresift labels import FILE")
    ran, why = current.details.get("ran", current.strategy), current.details.get("why", "")
    blank = Shown(id="", uri="", rank="", score="", why=f"{ran}: {why}" if why else str(ran))
    ranked = enumerate(current.selected, start=1)
    return tuple(replace(blank, id=str(sample), uri=uris[sample], rank=str(rank)) for rank, sample in ranked)


def _notes(current: Round) -> tuple[str, ...]:
    if current.state == "labeling":
        return ()
    return (f"round {current.number} is closed: corrections count from the next training on",)
