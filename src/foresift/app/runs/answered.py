"""What a round's oracle has answered: asked, kept, and judged whether it is enough."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from foresift.app.runs.files import FOLDERS, RunFile
from foresift.app.runs.oracles import gather, inbox, open_oracle
from foresift.app.runs.pools import CANDIDATES, TRUTH, RunPool, table_columns
from foresift.app.workspace import Workspace
from foresift.core.errors import OracleError
from foresift.core.oracles import Inquiry, Oracle, Question
from foresift.core.records import Records
from foresift.core.rounds import Round, Run, SampleId
from foresift.core.samples import Pool
from foresift.cycle.labels import Standing, Terms, Verdict, standing, training_labels, verdicts, why_closed

CURSOR = "cursor"
"""Where a closed round keeps how far the oracle had been read."""


class Taken(NamedTuple):
    """What there is to learn from, and whether to wait for more."""

    standing: Standing
    labels: list[tuple[SampleId, str]]
    """Of all samples that were asked about, and of those that came with a label unasked."""
    closed: str
    """Why the round need not wait any longer; "" while it should."""
    cursor: str


@dataclass(frozen=True, kw_only=True)
class RunAnswers:
    """The labels of one run, as its records hold them and its oracle brings them."""

    workspace: Workspace
    records: Records
    run: Run
    pool: RunPool
    file: RunFile
    folder: Path
    """Of the run."""
    now: Callable[[], str]
    note: Callable[[str], None]
    """Told of answers that were refused, and of an oracle that can't be reached."""

    def take(self, round: Round, asked: Sequence[SampleId]) -> Taken:
        """Ask for a round's samples, store every answer that has come, and judge.

        Args:
            asked: samples whose labels count, those of the round included.
        """
        cursor = self._collect(round)
        found = self._verdicts([*asked, *self._brought_along()])
        now = standing(round.selected, found)
        closed = why_closed(now, quota=self.file.quota, closes_at=round.closes_at, at=self.now())
        labels = [(one.sample_id, one.value) for one in training_labels(found)]
        return Taken(now, labels, closed if labels else "", cursor)

    def missing(self, rounds: Sequence[Round]) -> str:
        """What a run waits for, and how to give it, in one line."""
        waiting = [one for one in rounds if one.state == "labeling"]
        found = self._verdicts([sample for one in waiting for sample in one.selected])
        open_ = {sample for one in waiting for sample in one.selected} - set(found)
        number = waiting[0].number if waiting else len(rounds)
        which = f"round {number}" if len(waiting) < 2 else f"rounds {', '.join(str(one.number) for one in waiting)}"
        return f"{which} waits for {len(open_):,} labels: {self._how(number)}"

    def _how(self, number: int) -> str:
        again = f"then foresift runs resume {self.run.id}"
        if self.file.oracle.partition(":")[0] == "files":
            folder = inbox(self.workspace, self.run.id)
            return f"fill in column label of {folder / f'round-{number}.csv'} or drop files beside it, {again}"
        return f"foresift label {self.run.id}/{number}, or foresift labels import FILE --run {self.run.id}; {again}"

    def _collect(self, round: Round) -> str:
        """The cursor after everything that the oracle has to say is stored."""
        inquiry = self._inquiry(round)
        since = self._since()
        try:
            self._oracle.send(inquiry)
            gathered = gather(self.records, self._oracle, inquiry, self._terms(), since=since)
        except OracleError as error:  # people can be asked again; what was answered is kept
            self.note(str(error))
            return since
        for refusal in gathered.refused:
            self.note(f"not taken: {refusal}")
        return gathered.cursor

    def _since(self) -> str:
        """Where the oracle was read to when the last round closed; reading again from there loses nothing."""
        if self.file.oracle == FOLDERS:  # it answers a question the moment it is asked
            return ""
        kept = [str(one.details[CURSOR]) for one in self.records.rounds(self.run.id) if CURSOR in one.details]
        return kept[-1] if kept else ""

    def _terms(self) -> Terms:
        rounds = self.records.rounds(self.run.id)
        asked: dict[SampleId, int] = {}
        for one in rounds:
            for sample in one.selected:
                asked.setdefault(sample, one.number)
        closed = {one.number for one in rounds if one.state in ("training", "done")}
        return Terms(asked=asked, closed=closed, classes=tuple(self.pool.classes), price=self.file.label_price)

    def _verdicts(self, samples: Sequence[SampleId]) -> dict[SampleId, Verdict]:
        wanted = set(samples)
        current = self.records.labels(run=self.run.id)
        return verdicts(one for one in current if one.sample_id in wanted)

    def _brought_along(self) -> list[SampleId]:
        """Samples of the pool that nobody asked about and that were labeled all the same: free labels."""
        given = [one.sample_id for one in self.records.labels(run=self.run.id) if one.round is None]
        if not given:
            return []
        rows = self._pool.rows_of(given).tolist()
        return [sample for sample, row in zip(given, rows, strict=True) if row >= 0]

    def _inquiry(self, round: Round) -> Inquiry:
        rows = self._pool.rows_of(np.asarray(round.selected))
        uris = self._pool.uris[rows].tolist()
        questions = tuple(
            Question(sample_id=sample, uri=uri, rank=rank)
            for rank, (sample, uri) in enumerate(zip(round.selected, uris, strict=True), start=1)
        )
        return Inquiry(
            run=self.run.id,
            pool=self.run.pool,
            round=round.number,
            questions=questions,
            classes=tuple(self.pool.classes),
        )

    @cached_property
    def _oracle(self) -> Oracle:
        return open_oracle(self.workspace, self.records, self.file.oracle, run=self.run, pool=self._pool)

    @cached_property
    def _pool(self) -> Pool:
        """What may be chosen, with its labels only where they are the truth."""
        truth = self.folder / TRUTH
        if truth.is_file():
            ids, uris, labels = table_columns(truth, "id", "uri", "label")
            return Pool.from_columns(self.run.pool, ids, uris=uris, labels=labels)
        ids, uris = table_columns(self.folder / CANDIDATES, "id", "uri")
        return Pool.from_columns(self.run.pool, ids, uris=uris)
