"""Labels of a run, as people handle them: imported from files, listed, compared, written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresift.app.pools import open_pool
from foresift.app.runs.answers import SUFFIXES, AnswerReader
from foresift.app.runs.lifecycle import run_folder
from foresift.app.runs.mask_answers import MASK_SUFFIX, MaskReader
from foresift.app.runs.pool_files import image_of, kept_pool
from foresift.app.sample_names import SampleNames
from foresift.app.workspace import Workspace
from foresift.core.errors import LabelError, MissingPathError, UsageError
from foresift.core.labels import LabelRecord
from foresift.core.oracles import CLASSIFICATION, FileAnswers, Inquiry, Question, Refusal
from foresift.core.records import Records
from foresift.core.rounds import Round, Run, SampleId
from foresift.cycle.labels import (
    Admission,
    Agreement,
    News,
    Standing,
    Terms,
    Verdict,
    admit,
    agreement,
    news,
    standing,
    verdicts,
)
from foresift.stores.tables import write_rows

EXPORT_COLUMNS = ("id", "uri", "label", "round", "annotators", "votes")
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Which file to take labels from, and for whom."""

    source: Path
    """A file, or a folder of files."""
    run: str | None = None
    """Id of a run, or its beginning; None = the only one that is not over."""
    round: int | None = None
    """Only answers to what this round asked are taken."""
    annotator: str = ""
    """Of answers that name none."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of the answers of an import."""

    run: Run
    files: tuple[Path, ...]
    news: News
    cannot_tell: int
    late: int
    """Answers to rounds that were closed already."""
    unasked: int
    """Answers to samples that no round asked for."""
    refused: tuple[Refusal, ...]
    """Only where nothing is stored."""
    open: Mapping[int, Standing]
    """How far the rounds that wait for labels are answered now."""


def import_labels(workspace: Workspace, records: Records, job: Import) -> Imported:
    """Store the answers of a file or folder: all of them, or none if one can't be taken.

    Importing the same again changes nothing.

    Raises:
        LabelError: an answer names no sample of the pool, no class of the run, or contradicts another one of the
            same file; or no label is filled in. Nothing was stored.
        DataError: a file that can't be read.
    """
    run = chosen_run(records, job.run)
    rounds = records.rounds(run.id)
    files = _files(job.source)
    inquiry = _inquiry(workspace, records, run, rounds, job.round, files)
    found = _read(workspace, records, run, inquiry, files, job.annotator)
    admitted = admit(found.labels, _terms(rounds))
    refused = (*found.refused, *admitted.refused, *_not_asked(admitted.labels, job.round))
    if refused and not job.dry_run:
        raise _refused(job.source, refused, len(found.labels) + len(found.refused))
    if not admitted.labels and not refused:
        raise LabelError(f"{job.source}: no label is filled in yet; fill in column label and import it again")
    with records.transaction():
        changes = news(admitted.labels, _history(records, run, admitted))
        if not job.dry_run:
            records.add_labels(admitted.labels)
    return Imported(
        run=run,
        files=files,
        news=changes,
        cannot_tell=sum(not one.tells for one in admitted.labels),
        late=len(admitted.late),
        unasked=len(admitted.unasked),
        refused=refused,
        open={one.number: _standing(records, run, one) for one in rounds if one.state == "labeling"},
    )


def chosen_run(records: Records, spec: str | None) -> Run:
    """The run of an id or of its beginning; by default the only run that is not over, or the only one.

    Raises:
        UsageError: none, or several; lists them.
    """
    runs = records.runs()
    if spec is not None:
        named = [one for one in runs if one.id == spec] or [one for one in runs if one.id.startswith(spec)]
        what = f"run {spec!r}"
    else:
        named = [one for one in runs if not one.is_over] or list(runs)
        what = "the run (--run ID)"
    if len(named) == 1:
        return named[0]
    known = ", ".join(f"{one.id} ({one.state})" for one in (named or runs)[:_SHOWN])
    if not runs:
        raise UsageError("the workspace has no run yet; start one with foresift run FILE, or give --home")
    raise UsageError(f"{what} is {'ambiguous' if named else 'unknown'}; give one of: {known}")


def _files(source: Path) -> tuple[Path, ...]:
    """The file itself, or what may hold answers in a folder, the oldest first.

    Raises:
        MissingPathError: nothing is there.
    """
    if source.is_file():
        return (source,)
    if not source.is_dir():
        raise MissingPathError(f"{source}: no such file or folder; expected labels ({', '.join(sorted(SUFFIXES))})")
    found = [path for path in sorted(source.rglob("*")) if _may_answer(path, source)]
    if not found:
        raise MissingPathError(f"{source}: holds no file of labels or masks ({', '.join(sorted(SUFFIXES))})")
    return tuple(sorted(found, key=lambda path: (path.stat().st_mtime_ns, str(path))))


def _may_answer(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "~")) for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and path.is_file() and not hidden


def _inquiry(
    workspace: Workspace, records: Records, run: Run, rounds: Sequence[Round], number: int | None, files: Sequence[Path]
) -> Inquiry:
    """What was asked so far, with the questions where files are named like these.

    Raises:
        UsageError: there is no round of that number.
    """
    if number is not None and not any(one.number == number for one in rounds):
        raise UsageError(f"run {run.id} has no round {number}; it has {len(rounds)}")
    drawn = any(path.suffix.lower() == MASK_SUFFIX for path in files)
    return Inquiry(
        run=run.id,
        pool=run.pool,
        round=number or len(rounds),
        questions=_questions(records, run, rounds) if drawn else (),
        classes=_classes(workspace, run),
        task=str(run.config.get("task", CLASSIFICATION)),
    )


def _questions(records: Records, run: Run, rounds: Sequence[Round]) -> tuple[Question, ...]:
    """Everything that was asked, as far as the records know the samples."""
    asked = list(_asked(rounds))
    known = records.samples(run.pool, ids=list(dict.fromkeys([*asked, *map(image_of, asked)])))
    uris = {one.id: one.uri for one in known}
    found = ((one, uris.get(one) or uris.get(image_of(one), "")) for one in asked)
    return tuple(Question(sample_id=one, uri=uri, rank=rank) for rank, (one, uri) in enumerate(found, start=1))


def _classes(workspace: Workspace, run: Run) -> tuple[str, ...]:
    """What may be answered: the classes of the run's configuration, else those it found; none where nobody knows."""
    if given := run.config.get("classes"):
        return tuple(given)
    found = kept_pool(run_folder(workspace, run.id))
    return () if found is None else tuple(found.classes)


def _read(
    workspace: Workspace, records: Records, run: Run, inquiry: Inquiry, files: Sequence[Path], annotator: str
) -> FileAnswers:
    """What all files say together; with several, each refusal names its file."""
    names = SampleNames(records, run.pool, open_pool=lambda: open_pool(workspace, run.pool))
    pool = kept_pool(run_folder(workspace, run.id))
    masks = MaskReader(workspace=workspace, classes=None if pool is None else pool.mask_classes)
    reader = AnswerReader(workspace=workspace, names=names, annotator=annotator, masks=masks)
    found = [(path, reader(path, inquiry)) for path in files]
    labels = tuple(label for _, answers in found for label in answers.labels)
    refused = tuple(one if len(files) == 1 else one.of(path.name) for path, answers in found for one in answers.refused)
    return FileAnswers(labels, refused)


def _asked(rounds: Sequence[Round]) -> dict[SampleId, int]:
    """The first round that asked for each sample."""
    asked: dict[SampleId, int] = {}
    for one in rounds:
        for sample in one.selected:
            asked.setdefault(sample, one.number)
    return asked


def _terms(rounds: Sequence[Round]) -> Terms:
    closed = {one.number for one in rounds if one.state in ("training", "done")}
    return Terms(asked=_asked(rounds), closed=closed)


def _not_asked(labels: Sequence[LabelRecord], number: int | None) -> list[Refusal]:
    """Answers that are not to the round that was named."""
    if number is None:
        return []
    return [
        Refusal(
            f"sample {one.sample_id!r}",
            f"round {number} did not ask for it" + (f", round {one.round} did" if one.round else ""),
        )
        for one in labels
        if one.round != number
    ]


def _refused(source: Path, refused: Sequence[Refusal], answers: int) -> LabelError:
    verb = "answers can't be taken; the first is" if len(refused) > 1 else "answers can't be taken:"
    return LabelError(
        f"{source}: {len(refused)} of {answers} {verb} {refused[0]}."
        " Nothing was stored; correct the file and import it again (--dry-run lists everything)"
    )


def _history(records: Records, run: Run, admitted: Admission) -> tuple[LabelRecord, ...]:
    samples = list(dict.fromkeys(one.sample_id for one in admitted.labels))
    return records.labels(run=run.id, samples=samples, current=False)


def _standing(records: Records, run: Run, asked: Round) -> Standing:
    current = records.labels(run=run.id, samples=list(asked.selected))
    return standing(asked.selected, verdicts(current))


def labels_of(records: Records, run: Run, *, number: int | None = None, history: bool = False) -> list[LabelRecord]:
    """Answers to a run in order of arrival: the current ones, or all that were ever given."""
    return list(records.labels(run=run.id, round=number, current=not history))


def agreement_of(records: Records, run: Run, *, number: int | None = None) -> Agreement:
    """How far the annotators of a run agree."""
    return agreement(records.labels(run=run.id, round=number))


def export_labels(records: Records, run: Run, out: Path, *, number: int | None = None) -> int:
    """Write what a run's answers amount to as a labels file; how many samples have a class.

    Samples that nobody could tell are left out: nothing is to be learned from them.

    Raises:
        LabelError: there is no label yet.
    """
    current = records.labels(run=run.id, round=number)
    told = [one for one in verdicts(current).values() if one.tells]
    if not told:
        raise LabelError(f"run {run.id} has no labels yet; nothing was written")
    uris = {one.id: one.uri for one in records.samples(run.pool, ids=[one.sample_id for one in told])}
    of_round = {one.sample_id: one.round for one in current}
    write_rows(out, [_exported(one, uris, of_round) for one in told], EXPORT_COLUMNS)
    return len(told)


def _exported(
    verdict: Verdict, uris: Mapping[SampleId, str], of_round: Mapping[SampleId, int | None]
) -> dict[str, Any]:
    return {
        "id": verdict.sample_id,
        "uri": uris.get(verdict.sample_id, ""),
        "label": verdict.value,
        "round": of_round[verdict.sample_id],
        "annotators": verdict.abstained + sum(count for _, count in verdict.votes),
        "votes": " ".join(f"{value}={count}" for value, count in verdict.votes),
    }
