"""The log of predictions and realised gains: one JSON object a line in the workspace."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

from foresift.app.workspace import Workspace
from foresift.core.errors import StoreError
from foresift.lineage.calibration import Calibration, Forecast, calibration, latest, open_forecast
from foresift.stores.files import disk_errors, locked

LOG = "calibration.jsonl"


def remember(workspace: Workspace, forecast: Forecast) -> None:
    """Append a row, whole or not at all; several processes may do so at once."""
    line = json.dumps(asdict(forecast), ensure_ascii=False, allow_nan=False) + "\n"
    path = log_file(workspace)
    with locked(path.with_suffix(".lock")), disk_errors(path), path.open("ab+") as file:
        _cut_torn_end(file)
        file.write(line.encode())


def forecasts(workspace: Workspace) -> list[Forecast]:
    """Every prediction in the order in which they were made, its outcome filled in where it is known.

    Raises:
        StoreError: a line that is no row of the log; the last one may be torn by a crash and is left out.
    """
    path = log_file(workspace)
    if not path.is_file():
        return []
    with disk_errors(path):
        lines = path.read_text(encoding="utf-8").split("\n")
    whole = lines[:-1]  # what follows the last line's end was never written to its end
    return latest(_row(line, path, number) for number, line in enumerate(whole, start=1) if line.strip())


def record_outcome(workspace: Workspace, *, surrogate: str, deployment: str, score: str, realised: float) -> Forecast:
    """Write what came of the last open prediction of a pair; gives the row.

    Args:
        realised: gain over random with as many labels, as a share (0.012 = 1.2 points).
    Raises:
        UsageError: no prediction of this pair waits for its outcome.
    """
    waiting = open_forecast(forecasts(workspace), surrogate=surrogate, deployment=deployment, score=score)
    done = replace(waiting, realised=realised)
    remember(workspace, done)
    return done


def record_round(workspace: Workspace, made: Forecast, *, realised: float, run: str, round: int) -> Forecast:  # noqa: A002
    """Write what a round of a run brought beside what was predicted of it; gives the row.

    Args:
        made: the prediction, which stays open for other rounds.
        realised: as in :func:`record_outcome`.
    """
    done = replace(made, realised=realised, run=run, round=round)
    remember(workspace, done)
    return done


def calibration_of(workspace: Workspace) -> tuple[Calibration, ...]:
    """How well the predictions of this workspace fitted what happened, score by score."""
    return calibration(forecasts(workspace))


def log_file(workspace: Workspace) -> Path:
    """Where the rows lie."""
    return workspace.home / LOG


def _cut_torn_end(file: BinaryIO) -> None:
    """Remove what a crash left of a line without its end."""
    file.seek(0)
    held = file.read()
    file.truncate(held.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


def _row(line: str, path: Path, number: int) -> Forecast:
    try:
        plain = json.loads(line)
        if not isinstance(plain, dict):
            raise ValueError
    except ValueError:
        raise StoreError(f"{path}, line {number}: not a row of the calibration log; move the file away") from None
    return Forecast.from_dict(plain)
