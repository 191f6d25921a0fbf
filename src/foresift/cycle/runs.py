"""A run moved on by one step: the plan decides, rounds advance, records keep all of it or nothing."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import NamedTuple, Protocol

from foresift.core.errors import StaleError
from foresift.core.jobs import Event
from foresift.core.records import Records
from foresift.core.rounds import Round, Run
from foresift.cycle.plans import Move, Open, Plan, Settle, Stop
from foresift.cycle.rounds import Ports, advance
from foresift.cycle.trials import Trial


class Step(NamedTuple):
    """What a step did."""

    run: Run
    moved: bool
    """Whether anything changed; if not, and the run is not over, it waits for labels."""


class Clock(Protocol):
    """Says when things happened; nothing is decided by it."""

    def __call__(self) -> str:
        """Now, as ISO 8601 in UTC."""
        ...


def advance_run(records: Records, run: str, plan: Plan, ports: Ports, *, clock: Clock = lambda: "") -> Step:
    """One step of a run: a round opened, each unfinished round one state on, a decision kept, or the end.

    Idempotent: whoever repeats it, also after a crash at any moment or beside another worker, brings the run to the
    same state. A run that is over stays as it is.

    Raises:
        Whatever the ports raise; what was stored before stays.
    """
    current = records.run(run)
    if current.is_over:
        return Step(current, moved=False)
    rounds = records.rounds(run)
    move = plan.next(current, rounds)
    try:
        if isinstance(move, Open):
            return _opened(records, current, move, number=len(rounds) + 1, clock=clock)
        if isinstance(move, Settle | Stop):
            return _decided(records, current, move, clock=clock)
    except StaleError:  # somebody else was first; the next step sees what he did
        return Step(records.run(run), moved=True)
    moved = [_moved(records, one, ports, clock) for one in rounds if one.state != "done"]
    return Step(records.run(run), moved=any(moved))


def _opened(records: Records, run: Run, move: Open, *, number: int, clock: Clock) -> Step:
    opened = Round(run=run.id, number=number, budget=move.budget, strategy=move.strategy, details={"turn": move.turn})
    with records.transaction():
        records.add_round(opened)
        records.add_events([_event(run.id, "round-opened", clock, number=number, strategy=move.strategy)])
    return Step(run, moved=True)


def _decided(records: Records, run: Run, move: Move, *, clock: Clock) -> Step:
    """The agent's decisions, or the end: kept together with the events that tell of them."""
    with records.transaction():
        if isinstance(move, Settle):
            told = _news(run, move.trial, clock)
            stored = records.change_run(replace(run, trial=move.trial.to_dict()))
        elif isinstance(move, Stop):
            told = [_event(run.id, "finished", clock, code=move.code, reason=move.reason)]
            stored = records.change_run(replace(run, state="finished", reason=move.reason))
        records.add_events(told)
    return Step(stored, moved=True)


def _news(run: Run, trial: Trial, clock: Clock) -> list[Event]:
    """Decisions that were not in the log before."""
    known = 0 if run.trial is None else len(run.trial["decisions"])
    return [_event(run.id, "decision", clock, **asdict(one)) for one in trial.decisions[known:]]


def _moved(records: Records, before: Round, ports: Ports, clock: Clock) -> bool:
    after = advance(records, before, ports)
    if after.version == before.version:
        return False
    records.add_events([_event(before.run, "round", clock, number=after.number, state=after.state)])
    return True


def _event(run: str, kind: str, clock: Clock, **values: object) -> Event:
    return Event(run=run, kind=kind, at=clock(), values=values)
