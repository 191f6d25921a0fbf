"""How a run goes: its rounds, what it spent, where its curve leads, what choosing has brought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from foresift.app.generations.calibrating import calibration_of, forecasts
from foresift.app.runs.files import RunFile
from foresift.app.runs.lifecycle import pool_of, run_file_of
from foresift.app.runs.outcomes import outcome_line
from foresift.app.runs.plans import make_trial_agent, tries
from foresift.app.runs.pool_files import RunPool
from foresift.app.workspace import Workspace
from foresift.core.records import Records
from foresift.core.rounds import RUN_STATES, Round, Run, check_one_of
from foresift.cycle.forecast import Forecaster
from foresift.cycle.plans import bought, evaluation_size, points
from foresift.cycle.stopping import StopRules, labels_needed
from foresift.cycle.trials import Answer, Trial


def report(workspace: Workspace, run: Run) -> dict[str, Any]:
    """Everything there is to know of a run, as plain values.

    ``asked``: samples that labels were asked for, which is what is paid; ``labels``: those that have one by now.
    ``rounds`` in order: ``selected`` ids by rank, ``labels`` that the round's model was trained on, ``metrics`` on the
    evaluation set, and more.
    """
    file, pool, records = run_file_of(run), pool_of(workspace, run), workspace.records()
    rounds = records.rounds(run.id)
    told: dict[str, Any] = {
        "run": run.id,
        "state": run.state,
        "reason": run.reason,
        "pool": {"name": pool.name, "version": pool.version, "size": pool.size, "evaluation": pool.evaluation_size},
        "config": file.to_dict(),
        "rounds": [row(one) for one in rounds],
        "asked": bought(rounds),
        "labels": records.count_labels(run.id),
        "notes": pool.notes,
    }
    if outcomes := [one for one in forecasts(workspace) if one.run == run.id]:
        told["predictions"] = {
            "rounds": [{**asdict(one), "text": outcome_line(one)} for one in outcomes],
            "calibration": [str(one) for one in calibration_of(workspace)],
        }
    if tries(file, pool):
        return {**told, "agent": trial_report(file, run)}
    return {**told, "forecast": forecast(file, rounds)}


def row(one: Round) -> dict[str, Any]:
    """A round as plain values."""
    return {
        "round": one.number,
        "turn": one.details.get("turn", one.number - 1),
        "strategy": one.strategy,
        "state": one.state,
        "selected": list(one.selected),
        "labels": int(one.details.get("trained_on", 0)),
        "metrics": dict(one.metrics),
        "generation": one.generation,
        "receipt": one.receipt,
        "partial": one.partial,
        **({"reason": one.reason} if one.reason else {}),
        **{name: one.details[name] for name in ("ran", "why") if name in one.details},
    }


def forecast(file: RunFile, rounds: Sequence[Round]) -> dict[str, Any] | None:
    """Where the curve of one strategy leads; None while nothing was measured."""
    curve = points(rounds)
    if not curve:
        return None
    size = evaluation_size(rounds)
    coming = Forecaster(x="labels").next(curve, budget=file.budget, evaluation_size=size)
    best = [max(point.accuracy for point in curve[: at + 1]) for at in range(len(curve))]
    stop = StopRules(max_labels=file.most_labels, patience=file.converge or 3)
    told: dict[str, Any] = {
        "next_round": {"labels": curve[-1].labels + file.budget, **coming._asdict()},
        "converged": stop.converged(best, evaluation_size=size),
    }
    if file.target is not None:
        needed = labels_needed(curve, file.target, budget=file.budget, evaluation_size=size)
        told["target"] = {**needed._asdict(), "text": str(needed)}
    return told


def trial_report(file: RunFile, run: Run) -> dict[str, Any] | None:
    """What was tried, decided and spent; None before the first decision."""
    if run.trial is None:
        return None
    trial = Trial.from_dict(run.trial)
    told: dict[str, Any] = {
        "alive": list(trial.alive),
        "ledgers": dict(trial.ledgers),
        "stopped": trial.stopped,
        "decisions": [asdict(one) for one in trial.decisions],
    }
    if not trial.turns:
        return told
    answer = make_trial_agent(file).answer(trial, price=file.label_price)
    return {**told, "answer": _answer(answer)}


def _answer(answer: Answer) -> dict[str, Any]:
    gain = answer.gain
    return {
        "strategy": answer.strategy,
        "reason": answer.reason,
        "accuracy": answer.accuracy,
        "gain": None if gain is None else {**asdict(gain), "text": str(gain)},
    }


def pool_line(file: RunFile, pool: RunPool) -> str:
    """What a run has to choose from."""
    held = f", measured on {pool.evaluation_size:,}" if pool.evaluation_size else ", not measured"
    units = "images" if file.unit == "image" else "patches"
    what = "masks" if pool.has_masks else "labels"
    return f"{pool.size:,} {units} to choose from{held}; {file.most_labels:,} {what} at most"


def overview(workspace: Workspace, *, state: str | None = None) -> list[dict[str, Any]]:
    """Every run in a line, the first one first.

    Raises:
        UsageError: no such state.
    """
    if state is not None:
        check_one_of("state", state, RUN_STATES)
    records = workspace.records()
    return [_overview(records, run) for run in records.runs(state=state)]


def _overview(records: Records, run: Run) -> dict[str, Any]:
    rounds = records.rounds(run.id)
    curve = points(rounds)
    return {
        "run": run.id,
        "state": run.state,
        "rounds": sum(one.state == "done" for one in rounds),
        "asked": bought(rounds),
        "labels": records.count_labels(run.id),
        "accuracy": max((point.accuracy for point in curve), default=None),
        "strategy": run.config.get("strategy", ""),
        "pool": run.pool,
        "created": run.created_at,
        "reason": run.reason,
    }
