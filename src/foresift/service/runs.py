"""Runs of the workspace, as clients see them."""

from __future__ import annotations

from foresift.core.records import RunRecords
from foresift.core.rounds import Run
from foresift.wire.messages import PageRequest, RunPage, RunView


def run_page(records: RunRecords, asked: PageRequest) -> RunPage:
    """Runs in the order in which they were begun.

    Raises:
        UnknownRecordError: ``after`` is no run.
    """
    found = records.runs(limit=asked.limit + 1, after=asked.after)
    part = found[: asked.limit]
    items = [_view(records, one) for one in part]
    return RunPage(items=items, next=part[-1].id if len(found) > len(part) else None)


def run_view(records: RunRecords, run: str) -> RunView:
    """One run.

    Raises:
        UnknownRecordError: there is none of that id.
    """
    return _view(records, records.run(run))


def _view(records: RunRecords, run: Run) -> RunView:
    return RunView(id=run.id, state=run.state, rounds=len(records.rounds(run.id)), reason=run.reason)
