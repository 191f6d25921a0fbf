"""The effects of a run's rounds: selections and trainings in a child process, answers from its oracle."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.generations.descent import find, folder_of
from foresift.app.pixels.strategies import reads_pixels
from foresift.app.runs.answered import CURSOR, RunAnswers
from foresift.app.runs.files import RunFile
from foresift.app.runs.inheriting import INHERITED, inherited_receipts
from foresift.app.runs.plans import tries
from foresift.app.runs.pool_files import CANDIDATES, EVALUATION, RunPool, table_rows
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.protocols import Progress
from foresift.core.records import Records
from foresift.core.rounds import Round, SampleId
from foresift.cycle.rounds import Gathered, Picked, Trained
from foresift.executors import Child
from foresift.stores.files import write_text
from foresift.stores.tables import rows_to_csv, write_rows

_KEY = 16
_TRAINING, _SELECTING = 0, 1
ASKED = "asked"
"""In the place of a label where only that there may be one matters."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """The :class:`foresift.cycle.rounds.Ports` of one run, in the hands of one worker."""

    workspace: Workspace
    records: Records
    run: str
    file: RunFile
    pool: RunPool
    folder: Path
    """Of the run."""
    child: Child
    answers: RunAnswers
    progress: Progress
    should_stop: Callable[[], bool]
    note: Callable[[str], None]
    """Told of images that could not be learned from or measured on."""

    def check(self) -> None:
        """Refuse a model that can't be, before anybody labels for it.

        Raises:
            UsageError: no such architecture or generation.
        """
        if not self.records.rounds(self.run):
            check_file(self.child, self.workspace, self.file)

    def select(self, round: Round) -> Picked:
        """By what the arm's last model sees, never what the arm asked for before."""
        if not round.budget:
            return Picked(ids=())
        before = self._before(round)
        answer = self._call(
            "select",
            strategy=round.strategy,
            budget=round.budget,
            seed=seed_of(self.file.seed, round.details["turn"], _SELECTING),
            pool=str(self._candidates(before)),
            **self._seen_through(before),
            backbone=self._backbone(round),
            engine=self.file.engine,
            dense=self._dense(round, scored=bool(before)),
        )
        ids = tuple(answer["ids"])
        closes_at = self.file.closing_time(datetime.now(UTC))
        return Picked(ids=ids, receipt=answer["receipt"], closes_at=closes_at, details=answer["details"])

    def _seen_through(self, before: Sequence[Round]) -> dict[str, Any]:
        """Whose eyes a selection sees through, and what is labeled: of the arm's last round, else of the ancestor."""
        last = before[-1] if before else None
        if last is not None and self.file.unit == "patch":
            labeled, model = self._taken(before), self.folder / last.details["folder"]
        elif last is not None:
            labeled, model = self.labels_file(last.details["labels"]), self.folder / last.details["folder"]
        elif self.file.inherit:
            labeled, model = self.folder / INHERITED, folder_of(find(self.workspace, self.file.inherit))
        else:
            return {"labeled": None, "model": None, "guards": {}}
        return {"labeled": str(labeled), "model": str(model), "guards": self.file.guards}

    def gather(self, round: Round) -> Gathered:
        """What the oracle has answered, and the labels that the arm's next model learns from."""
        taken = self.answers.take(round, self._asked_by(round))
        return Gathered(
            closed=bool(taken.closed),
            answers=taken.standing.bought,
            labels=len(taken.labels),
            key=self._keep_labels(taken.labels) if taken.closed else "",
            reason=taken.closed,
            details={CURSOR: taken.cursor},
        )

    def train(self, round: Round) -> Trained:
        """Train in a folder named by what decides the weights, then evaluate."""
        asked = self._training(round)
        folder = f"generations/{digest_value(asked)[:_KEY]}"
        out = self.folder / folder
        trained = self._call(
            self._by_task("train"),
            **asked,
            pool=str(self.folder / CANDIDATES),
            labels=str(self.labels_file(round.details["labels"])),
            out=str(out),
            run=self.run,
            name=self.pool.name,
            receipts=[
                *inherited_receipts(self.folder),
                *(one.receipt for one in (*self._before(round), round) if one.receipt),
            ],
            heir_of=self.file.inherit,
            target=self.file.hardware,
        )
        metrics: Mapping[str, Any] = {}
        left_out = [*trained.get("left_out", ())]
        if self.pool.evaluation_size:
            evaluated = {"pool": str(self.folder / EVALUATION), "model": str(out), "masks": self.pool.masks}
            measured = self._call(self._by_task("evaluate"), **evaluated)
            metrics, left_out = measured["metrics"], [*left_out, *measured.get("left_out", ())]
        for line in left_out:
            self.note(line)
        return Trained(generation=trained["generation"], metrics=metrics, details={"folder": folder})

    def _asked_by(self, round: Round) -> tuple[SampleId, ...]:
        """Every sample that the arm of a round has asked for, the round's own included; in order."""
        return _samples([*self._before(round), round])

    def _keep_labels(self, labels: Iterable[tuple[SampleId, str]]) -> str:
        """The key under which labels are kept as a labels file; the same labels have the same key."""
        rows = sorted(([sample, value] for sample, value in labels), key=lambda row: str(row[0]))
        key = digest_value(rows)[:_KEY]
        if not self.labels_file(key).is_file():
            text = rows_to_csv([{"id": sample, "label": value} for sample, value in rows], ("id", "label"))
            write_text(self.labels_file(key), text)
        return key

    def labels_file(self, key: str) -> Path:
        """Where labels of a key are kept."""
        return self.folder / "labels" / f"{key}.csv"

    def _before(self, round: Round) -> list[Round]:
        """Earlier rounds whose labels the arm of a round learns from; all of them where strategies share."""
        own = tries(self.file, self.pool) and not (self.file.strategy == "auto" and self.file.agent == "shared")
        return [
            one
            for one in self.records.rounds(self.run)
            if one.number < round.number
            and one.selected
            and (not own or one.details["turn"] == 0 or one.strategy == round.strategy)
        ]

    def _candidates(self, before: Sequence[Round]) -> Path:
        """The pool without samples that were asked for and have no label, which would be taken for unlabeled.

        Patches are no rows of it: see :meth:`_taken`.
        """
        if not before or self.file.unit == "patch":
            return self.folder / CANDIDATES
        labeled = _ids_of(self.labels_file(before[-1].details["labels"]))
        withheld = {str(sample) for sample in _samples(before)} - labeled
        if not withheld:
            return self.folder / CANDIDATES
        path = self.folder / f"candidates-{digest_value(sorted(withheld))[:_KEY]}.parquet"
        if not path.is_file():
            rows = table_rows(self.folder / CANDIDATES)
            write_rows(path, [row for row in rows if str(row["id"]) not in withheld], tuple(rows[0]))
        return path

    def _taken(self, before: Sequence[Round]) -> Path:
        """A labels file of all patches that were asked for, or came with a mask unasked: none is asked for again."""
        labeled = _ids_of(self.labels_file(before[-1].details["labels"]))
        taken = sorted({*labeled, *map(str, _samples(before))})
        path = self.folder / f"taken-{digest_value(taken)[:_KEY]}.csv"
        if not path.is_file():
            write_text(path, rows_to_csv([{"id": sample, "label": ASKED} for sample in taken], ("id", "label")))
        return path

    def _backbone(self, round: Round) -> str | None:
        """Where the backbone of a cold start lies; None where none is needed."""
        cold = round.details["turn"] == 0 and round.strategy == "auto" and not self.file.inherit
        return str(self.folder / "backbone") if cold else None

    def _training(self, round: Round) -> dict[str, Any]:
        """What decides the weights, the labels by their key."""
        return {
            "model": self.file.model,
            "key": round.details["labels"],
            "classes": self.pool.classes,
            "image_size": self.file.image_size,
            "recipe": self.file.recipe,
            "seed": seed_of(self.file.seed, round.details["turn"], _TRAINING),
            **({"masks": self.pool.masks} if self.pool.has_masks else {}),
        }

    def _dense(self, round: Round, *, scored: bool) -> dict[str, Any]:
        """What is asked of pixels; an aggregate only of what reads their scores, once a model gives them."""
        aggregated = scored and (round.strategy == "auto" or reads_pixels(round.strategy))
        aggregate = self.file.aggregate if aggregated else None
        return {"unit": self.file.unit, "patch": self.file.patch, "aggregate": aggregate}

    def _by_task(self, task: str) -> str:
        """The task of this name that the pool's labels need."""
        return f"{task}-masks" if self.pool.has_masks else task

    def _call(self, task: str, **values: Any) -> dict[str, Any]:
        values = {"home": str(self.workspace.home), **values}
        return self.child.call(task, values, progress=self.progress, should_stop=self.should_stop)


def check_file(child: Child, workspace: Workspace, file: RunFile) -> None:
    """Refuse a model and strategies that can't be; only a process that has loaded the networks' library can tell.

    Raises:
        ForesiftError: as the task ``check``.
    """
    strategies = file.strategies if file.tries and not file.control else [file.strategy]
    values = {"home": str(workspace.home), "model": file.model, "strategies": strategies, "recipe": file.recipe}
    child.call("check-masks" if file.has_masks else "check", values)


def seed_of(seed: int, turn: int, purpose: int) -> int:
    """A seed of its own for each turn of a run, the same for all strategies of the turn."""
    return int(np.random.SeedSequence([seed, turn, purpose]).generate_state(1)[0])


def _samples(rounds: Iterable[Round]) -> tuple[SampleId, ...]:
    return tuple(dict.fromkeys(sample for one in rounds for sample in one.selected))


def _ids_of(labels: Path) -> set[str]:
    from foresift.sources.labels import read_labels

    return set(read_labels(labels).ids)
