"""``foresift run`` and ``foresift runs``: rounds under one budget, from the first label to the last."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Home, Json
from foresift.cli.output import emit_json, note, percent, say, table
from foresift.cli.progress import progress

if TYPE_CHECKING:
    from foresift.app.runs.files import RunFile
    from foresift.app.runs.retention import Leftovers
    from foresift.core.rounds import Round, Run

RunId: Any = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or its beginning.")]
COLUMNS = ("run", "state", "rounds", "asked", "labels", "accuracy", "strategy", "pool", "reason")
ROUND_COLUMNS = ("round", "state", "strategy", "selected", "labels", "accuracy", "generation")
METRICS = {"top1": "top-1", "miou": "mIoU"}
"""What a round is judged by, the first that there is, and its name in a line."""

app = typer.Typer(help="Runs of this workspace: list, show, cancel, resume, delete, prune.", no_args_is_help=True)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A run file (YAML).")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Select, label and train round after round; repeated, it goes on where it was, or reports what is finished."""
    from foresift.app.runs.lifecycle import reopen, start_run
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    started = start_run(workspace, file, watch=_watch(quiet=as_json))
    if started.state == "failed":
        started = reopen(workspace, started.id)
    _carry_on(started, home=home, as_json=as_json)


@app.command("list")
def list_(
    state: Annotated[
        str | None, typer.Option(metavar="running|waiting|finished|cancelled|failed", help="Only these.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List every run, the first one first."""
    from foresift.app.runs.reports import overview
    from foresift.app.workspace import Workspace

    rows = overview(Workspace.open(home), state=state)
    if as_json:
        emit_json({"runs": rows})
        return
    if not rows:
        note("no run yet; foresift run FILE begins one")
        return
    table([{**row, "accuracy": percent(row["accuracy"])} for row in rows], COLUMNS)


@app.command()
def show(run: RunId, home: Home = None, as_json: Json = False) -> None:
    """Show the rounds of a run, where its curve leads, and what it waits for."""
    from foresift.app.runs.lifecycle import find_run
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    _report(workspace, find_run(workspace, run), as_json=as_json)


@app.command()
def cancel(run: RunId, home: Home = None, as_json: Json = False) -> None:
    """Stop a run wherever it is worked on, a training included; what is done is kept."""
    from foresift.app.runs.lifecycle import cancel_run
    from foresift.app.workspace import Workspace

    stopped = cancel_run(Workspace.open(home), run)
    if as_json:
        emit_json({"run": stopped.id, "state": stopped.state, "reason": stopped.reason})
        return
    if stopped.state == "cancelled":
        say(f"run {stopped.id} is cancelled; foresift runs resume {stopped.id} goes on with it")
    else:
        say(f"run {stopped.id} was {stopped.state} already: {stopped.reason}")


@app.command()
def resume(run: RunId, home: Home = None, as_json: Json = False) -> None:
    """Go on with a run that waits, was cancelled, failed, or lost its worker."""
    from foresift.app.runs.lifecycle import find_run, reopen
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    _carry_on(reopen(workspace, find_run(workspace, run).id), home=home, as_json=as_json)


@app.command()
def delete(
    run: RunId,
    force: Annotated[
        bool, typer.Option("--force", help="Also a run that is not over, or holds a generation with an alias.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Forget a run and remove its files; its labels are never lost, they stay."""
    from foresift.app.runs.retention import delete_run
    from foresift.app.workspace import Workspace

    gone = delete_run(Workspace.open(home), run, force=force, dry_run=dry_run)
    if as_json:
        emit_json({**gone.to_dict(), "dry_run": dry_run})
        return
    verb = "would be deleted" if dry_run else "is deleted"
    say(f"run {gone.run} {verb}: {_amount(gone)}; its {gone.labels:,} labels stay")


@app.command()
def prune(
    keep_last: Annotated[
        int | None, typer.Option(metavar="N", help="Leave the N runs that finished last as they are.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Only runs that finished longer ago.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Remove what finished runs no longer need: all generations but the last, and cached predictions."""
    from foresift.app.runs.retention import prune_runs
    from foresift.app.workspace import Workspace

    found = prune_runs(Workspace.open(home), keep_last=keep_last, older_than_days=older_than, dry_run=dry_run)
    if as_json:
        emit_json({"runs": [one.to_dict() for one in found], "dry_run": dry_run})
        return
    for one in found:
        say(f"run {one.run}: {_amount(one)} {'would be removed' if dry_run else 'removed'}")
    if not found:
        note("nothing to remove")


def _amount(gone: Leftovers) -> str:
    return f"{len(gone.generations)} generations, {gone.size_bytes / 1e6:,.1f} MB"


def _carry_on(started: Run, *, home: Path | None, as_json: bool) -> None:
    from foresift.app.runs.lifecycle import carry_on, pool_of, run_file_of
    from foresift.app.runs.reports import pool_line
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    file, pool = run_file_of(started), pool_of(workspace, started)
    if not as_json:
        note(f"run {started.id}: {pool_line(file, pool)}")
        for remark in pool.notes:
            note(f"note: {remark}")
    watch = _watch(quiet=as_json, lines=_Lines(file))
    ended = started if started.is_over else carry_on(workspace, started.id, watch=watch)
    _report(workspace, ended, as_json=as_json)


def _report(workspace: Any, ended: Run, *, as_json: bool) -> None:
    from foresift.app.runs.reports import report

    told = report(workspace, ended)
    if as_json:
        emit_json(told)
        return
    table([_row(one) for one in told["rounds"]], ROUND_COLUMNS)
    for line in _ending(told):
        say(line)


def _row(one: dict[str, Any]) -> dict[str, Any]:
    return {
        **one,
        "selected": len(one["selected"]),
        "accuracy": percent(next((one["metrics"][name] for name in METRICS if name in one["metrics"]), None)),
        "generation": (one["generation"] or "")[:12],
    }


def _ending(told: dict[str, Any]) -> list[str]:
    """The last lines: what was spent, where the curve leads, what was decided, what to do."""
    lines = [f"run {told['run']} is {told['state']}" + (f": {told['reason']}" if told["reason"] else "")]
    curve, trial = told.get("forecast"), told.get("agent")
    if curve:
        coming = curve["next_round"]
        lines.append(
            f"{coming['labels']:,} labels are expected to give {percent(coming['value'])}"
            f" ({percent(coming['low'])} to {percent(coming['high'])})"
        )
        if "target" in curve:
            lines.append(curve["target"]["text"])
        if curve["converged"]:
            lines.append("accuracy has not improved for some rounds by more than chance")
    if trial:
        spent = trial["ledgers"]
        lines.append(f"{spent['unique']:,} labels bought in the trial ({spent['per_strategy']:,} selected)")
        if "answer" in trial:
            lines.append(f"go on with {trial['answer']['strategy']}: {trial['answer']['reason']}")
    if "predictions" in told:
        lines += [one["text"] for one in told["predictions"]["rounds"]]
        lines += [f"predictions of this workspace by {one}" for one in told["predictions"]["calibration"]]
    if told["state"] in ("cancelled", "failed"):
        lines.append(f"go on with: foresift runs resume {told['run']}")
    return lines


@dataclass
class _Lines:
    """A line for every round that is done, with the time that is left."""

    file: RunFile
    _started: float = field(default_factory=time.monotonic)
    _before: int | None = None

    def __call__(self, _run: Run, rounds: Sequence[Round]) -> None:
        done = [one for one in rounds if one.state == "done"]
        before = self._before = len(done) - 1 if self._before is None else self._before
        last = done[-1]
        each = (time.monotonic() - self._started) / max(1, len(done) - before)
        left = f"; {each:.1f} s a round" + ("" if self.file.tries else f", {each * self._left(done):.0f} s left")
        known = [f", {told} {percent(last.metrics[name])}" for name, told in METRICS.items() if name in last.metrics]
        why = f" ({last.details['ran']})" if "ran" in last.details else ""
        labels = f"{last.details.get('trained_on', 0):,} labels{''.join(known)}{left}"
        if not last.budget:
            note(f"before the first round: {last.strategy}, {labels}")
            return
        number = last.details.get("turn", last.number - 1) + (1 if done[0].budget else 0)
        note(f"round {number} of {self.file.rounds}: {len(last.selected)} by {last.strategy}{why}, {labels}")

    def _left(self, done: Sequence[Round]) -> int:
        return max(0, self.file.rounds - len(done))


def _watch(*, quiet: bool, lines: Any = None) -> Any:
    from foresift.app.runs.lifecycle import Watch

    if quiet or lines is None:
        return Watch(progress=progress(quiet=quiet))
    return Watch(progress=progress(quiet=False), done=lines, note=note)


COMMANDS = (run,)
GROUPS = {"runs": app}
