"""Oracles at work: opened for a run, asked, and their answers stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foresift.app.runs.answers import AnswerReader
from foresift.app.runs.kept_masks import keep_mask
from foresift.app.runs.mask_answers import MaskReader
from foresift.app.sample_names import SampleNames
from foresift.app.workspace import Workspace
from foresift.core.oracles import Desk, Inquiry, Oracle, Refusal
from foresift.core.records import Added, Records
from foresift.core.rounds import Run, SampleId
from foresift.core.samples import Pool
from foresift.cycle.labels import Terms, admit
from foresift.oracles.registry import parse
from foresift.sources.read import fetch
from foresift.stores.files import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What came of asking an oracle for news."""

    cursor: str
    """Give it as ``since`` the next time."""
    new: int
    """Answers that nobody knew of."""
    repeated: int
    late: int
    """Those to rounds that were closed already; used from the next training on."""
    unasked: int
    """Those to samples that no round asked for."""
    refused: tuple[Refusal, ...]


def check_oracle(spec: str) -> None:
    """Refuse an oracle that can't be, before a run begins; raises as :func:`foresift.oracles.registry.parse`."""
    parse(spec)


def open_oracle(
    workspace: Workspace,
    records: Records,
    spec: str,
    *,
    run: Run,
    open_pool: Callable[[], Pool],
    truth: Callable[[Sequence[SampleId]], Sequence[str]],
    masks: MaskReader | None = None,
) -> Oracle:
    """The oracle that ``NAME`` or ``NAME:key=value,...`` spells, for one run.

    Args:
        open_pool: opens the pool; called only where the records do not know the samples that files name.
        truth: the true label of each sample; "" where nobody knows it.
        masks: reads masks that are delivered as files; None = by their names and sizes alone.
    Raises:
        UnknownNameError: no oracle of that name; suggests the nearest.
        UsageError: a setting that does not fit.
    """
    names = SampleNames(records, run.pool, open_pool=open_pool)
    desk = Desk(
        run=run.id,
        pool=run.pool,
        folder=inbox(workspace, run.id),
        truth=truth,
        read=AnswerReader(workspace=workspace, names=names, masks=masks),
        report=write_text,
        fetch=fetch,
        keep=lambda data: keep_mask(workspace, data),
    )
    return parse(spec).open(desk)


def inbox(workspace: Workspace, run: str) -> Path:
    """The folder into which files of labels for a run are dropped, unless another one is named."""
    return workspace.home / "inbox" / run


def gather(records: Records, oracle: Oracle, inquiry: Inquiry, terms: Terms, *, since: str = "") -> Gathered:
    """Take what an oracle has to say into the records: all of it, each answer once.

    Killed at any moment, the next call takes what is missing: the cursor is the caller's to keep after this call
    (with the round, in its ``details``), and what is stored twice is there once.

    Args:
        since: the cursor of the last call for this run.
    Raises:
        OracleError: the oracle can't be reached; nothing changed.
        StoreError: the labels can't be stored; they are delivered again.
    """
    answers = oracle.collect(inquiry, since=since)
    admitted = admit(answers.labels, terms)
    added = records.add_labels(admitted.labels) if admitted.labels else Added(0, 0)
    return Gathered(
        cursor=answers.cursor,
        new=added.new,
        repeated=added.repeated,
        late=len(admitted.late),
        unasked=len(admitted.unasked),
        refused=(*answers.refused, *admitted.refused),
    )
