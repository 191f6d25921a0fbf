"""What a round's oracle has answered: asked, kept, and judged whether it is enough."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from foresift.app.runs.file_tasks import FILES
from foresift.app.runs.file_values import FOLDERS
from foresift.app.runs.files import RunFile
from foresift.app.runs.mask_answers import MaskReader
from foresift.app.runs.mask_listings import true_masks
from foresift.app.runs.oracles import gather, inbox, open_oracle
from foresift.app.runs.pool_files import CANDIDATES, TRUTH, RunPool, image_values, table_columns, table_values
from foresift.app.workspace import Workspace
from foresift.core.errors import OracleError, UsageError
from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.oracles import Inquiry, Oracle, Question
from foresift.core.records import Records
from foresift.core.rounds import Round, Run, SampleId
from foresift.core.samples import Pool
from foresift.cycle.labels import Standing, Terms, Verdict, standing, training_labels, verdicts, why_closed
from foresift.oracles.files import REFUSED
from foresift.sources.folder import IMAGE_SUFFIXES

NO_MASKS = frozenset(f".{suffix}" for suffix in IMAGE_SUFFIXES - {"png"})
"""Suffixes of images that people may take for masks."""
CURSOR = "cursor"
"""Where a closed round keeps how far the oracle had been read."""


class Taken(NamedTuple):
    """What there is to learn from, and whether to wait for more."""

    standing: Standing
    labels: list[tuple[SampleId, str]]
    """Of all samples that were asked about, and of those that came with a label unasked; none while it should wait."""
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
        Raises:
            UsageError: the pool's own masks answer, and say nothing of any sample: no more answers will come.
        """
        cursor = self._collect(round)
        now = standing(round.selected, self._verdicts(round.selected))
        closed = why_closed(now, quota=self.file.quota, closes_at=round.closes_at, at=self.now())
        labels = self._to_learn_from(asked) if closed else []
        if closed and not labels and self.pool.has_masks and self.file.oracle == FOLDERS:
            raise UsageError(
                f"round {round.number}: the pool's own masks ignore every pixel of the {len(round.selected)} patches "
                "that were chosen, so there is nothing to learn from; raise budget, or leave such images out"
            )
        return Taken(now, labels, closed if labels else "", cursor)

    def missing(self, rounds: Sequence[Round]) -> str:
        """What a run waits for, and how to give it, in one line."""
        waiting = [one for one in rounds if one.state == "labeling"]
        found = self._verdicts([sample for one in waiting for sample in one.selected])
        open_ = {sample for one in waiting for sample in one.selected} - set(found)
        number = waiting[0].number if waiting else len(rounds)
        which = f"round {number}" if len(waiting) < 2 else f"rounds {', '.join(str(one.number) for one in waiting)}"
        what = "masks" if self.pool.has_masks else "labels"
        if waiting and not open_:
            return f"{which} has nothing to learn from, every answer is {CANNOT_TELL}: {self._how(number)}"
        return f"{which} waits for {len(open_):,} {what}: {self._how(number)}{self._not_taken()}"

    @property
    def _folder(self) -> Path:
        """Where files are dropped: the oracle's own folder, where its settings name one."""
        return Path(getattr(self._oracle, "folder", inbox(self.workspace, self.run.id)))

    def _not_taken(self) -> str:
        """That files were refused which lie there still, for those who see the last line alone; "" if none was."""
        there = sorted(self._folder.rglob("*")) if self._folder.is_dir() else []
        reports = [path for path in there if path.name.endswith(REFUSED)]
        refused = [path for path in reports if path.with_name(path.name.removesuffix(REFUSED)).exists()]
        foreign = [path for path in there if self.pool.has_masks and path.suffix.lower() in NO_MASKS]
        told = [f"; of {len(refused)} files not everything could be taken, NAME{REFUSED} beside each says why"]
        told += [f"; masks are PNG files, and {len(foreign)} such as {path.name} are none" for path in foreign[:1]]
        return "".join(told if refused else told[1:])

    def _how(self, number: int) -> str:
        again, folder = f"then foresift runs resume {self.run.id}", self._folder
        if self.pool.has_masks:
            sheet = folder / f"round-{number}.csv"
            crops = f"crops that foresift export {sheet} --format crops --out DIR writes"
            names = crops if self.file.unit == "patch" else f"images of {sheet}"
            return f"drop PNG files named like the {names} into {sheet.with_suffix('')}, {again}"
        if self.file.oracle.partition(":")[0] == FILES:
            return f"fill in column label of {folder / f'round-{number}.csv'} or drop files beside it, {again}"
        return f"foresift label {self.run.id}/{number}, or foresift labels import FILE --run {self.run.id}; {again}"

    def _collect(self, round: Round) -> str:
        """The cursor after everything that the oracle has to say is stored; it is not asked for nothing."""
        if not round.selected:
            return self._since()
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
        classes = () if self.pool.has_masks else tuple(self.pool.classes)  # a mask is none of them
        return Terms(asked=asked, closed=closed, classes=classes, price=self.file.label_price)

    def _verdicts(self, samples: Sequence[SampleId]) -> dict[SampleId, Verdict]:
        return verdicts(self.records.labels(run=self.run.id, samples=samples))

    def _to_learn_from(self, asked: Sequence[SampleId]) -> list[tuple[SampleId, str]]:
        """Labels of the samples that were asked about, and of those that nobody asked about, which are free."""
        current = self.records.labels(run=self.run.id)
        wanted = {*asked, *self._brought_along(current)}
        found = verdicts(one for one in current if one.sample_id in wanted)
        return [(one.sample_id, one.value) for one in training_labels(found)]

    def _brought_along(self, current: Sequence[LabelRecord]) -> Iterable[SampleId]:
        """Samples of the pool that nobody asked about and that were labeled all the same."""
        given = [one.sample_id for one in current if one.round is None]
        return self._uris(given) if given else ()

    def _inquiry(self, round: Round) -> Inquiry:
        return Inquiry(
            run=self.run.id,
            pool=self.run.pool,
            round=round.number,
            questions=self._questions(round.selected),
            classes=tuple(self.pool.classes),
            task=self.pool.task,
            earlier=self._ever_asked() if self.pool.has_masks else (),
        )

    def _questions(self, samples: Sequence[SampleId]) -> tuple[Question, ...]:
        uris = self._uris(samples)
        ranked = enumerate(samples, start=1)
        return tuple(Question(sample_id=sample, uri=uris[sample], rank=rank) for rank, sample in ranked)

    def _uris(self, samples: Sequence[SampleId]) -> dict[SampleId, str]:
        """Where the images of samples lie, as far as they may be chosen."""
        values = image_values if self.file.unit == "patch" else table_values
        return values(self.folder / CANDIDATES, samples, "uri")

    def _ever_asked(self) -> tuple[Question, ...]:
        """The questions of all rounds."""
        return self._questions([sample for one in self.records.rounds(self.run.id) for sample in one.selected])

    @cached_property
    def _oracle(self) -> Oracle:
        return open_oracle(
            self.workspace,
            self.records,
            self.file.oracle,
            run=self.run,
            open_pool=self._open_pool,
            truth=self._true_masks if self.pool.has_masks else self._truth,
            masks=MaskReader(workspace=self.workspace, classes=self.pool.mask_classes),
        )

    def _truth(self, samples: Sequence[SampleId]) -> list[str]:
        """What the class folders say, where they are the oracle."""
        truth = self.folder / TRUTH
        known = table_values(truth, samples, "label") if truth.is_file() else {}
        return [known.get(sample, "") for sample in samples]

    def _true_masks(self, samples: Sequence[SampleId]) -> list[str]:
        """The pool's own masks, kept under their contents from now on."""
        classes = self.pool.mask_classes
        return [] if classes is None else true_masks(self.workspace, self.folder / TRUTH, samples, classes)

    def _open_pool(self) -> Pool:
        """What may be chosen."""
        ids, uris = table_columns(self.folder / CANDIDATES, "id", "uri")
        return Pool.from_columns(self.run.pool, ids, uris=uris)
