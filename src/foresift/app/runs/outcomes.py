"""What the rounds of a run have brought over their control arm, beside what suitability had predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from foresift.app.generations.calibrating import forecasts, record_round
from foresift.app.generations.descent import find
from foresift.app.runs.files import RunFile
from foresift.app.workspace import Workspace
from foresift.core.rounds import Round
from foresift.cycle.plans import TOP1
from foresift.lineage.calibration import Forecast, prediction
from foresift.stores.generations import read_generation
from foresift.strategies import parse

CONTROL = "random"
"""The arm that the others are compared with."""


class Gain(NamedTuple):
    """What a round's choice was worth."""

    round: Round
    chosen_by: str
    """Generation that the strategy looked through."""
    points: float
    """Accuracy above that of as many labels drawn at random, as a share."""


def record_outcomes(workspace: Workspace, run: str, file: RunFile, rounds: Sequence[Round]) -> list[Forecast]:
    """Write the gain of every finished round beside the prediction that was made of it, once; gives the new rows.

    Rounds that nothing was predicted of, or that have no control arm beside them, are passed over.

    Raises:
        StoreError: the log of predictions can't be read or written.
    """
    known = forecasts(workspace)
    written = {one.round for one in known if one.run == run}
    scores = {one.score for one in known}
    every = gains(rounds, ancestor=file.inherit)
    fresh = [(gain, parse(gain.round.strategy).name) for gain in every if gain.round.number not in written]
    fresh = [(gain, score) for gain, score in fresh if score in scores]
    models = _names(workspace, file) if fresh else set()
    found = []
    for gain, score in fresh:
        lookers = {*models, *(f"{name} {gain.chosen_by[:8]}" for name in models)}
        if gain.chosen_by == file.inherit:
            chooser = find(workspace, file.inherit)
            lookers = _names_of(chooser.architecture, chooser.generation)
        made = prediction(known, surrogates=lookers, deployments=models, score=score)
        if made is not None:
            found.append(record_round(workspace, made, realised=gain.points, run=run, round=gain.round.number))
    return found


def outcome_line(one: Forecast) -> str:
    """What came of a prediction, for people."""
    points = 100 * (one.realised or 0)
    rehearsed = "" if one.pilot is None else f"; rehearsals had brought {100 * one.pilot:+.1f} points"
    return (
        f"round {one.round}: {one.score} brought {points:+.1f} points over random choice; predicted was "
        f"a rank correlation of {one.predicted:+.2f} ({one.low:+.2f} to {one.high:+.2f}){rehearsed}"
    )


def gains(rounds: Sequence[Round], *, ancestor: str = "") -> Iterator[Gain]:
    """What finished rounds brought over the random arm of the same turn, where both asked for as many labels.

    Args:
        ancestor: generation that chose for an arm that had bought nothing before.
    """
    done = [one for one in rounds if one.state == "done" and TOP1 in one.metrics and one.generation]
    drawn = {one.details["turn"]: one for one in done if one.strategy == CONTROL and one.details["turn"]}
    for one in done:
        control = drawn.get(one.details["turn"])
        if control is None or one.strategy == CONTROL or len(one.selected) != len(control.selected):
            continue
        before = [
            earlier
            for earlier in done
            if earlier.number < one.number
            and earlier.selected
            and (earlier.details["turn"] == 0 or earlier.strategy == one.strategy)
        ]
        if chosen_by := str(before[-1].generation) if before else ancestor:
            yield Gain(one, chosen_by, float(one.metrics[TOP1]) - float(control.metrics[TOP1]))


def _names(workspace: Workspace, file: RunFile) -> set[str]:
    """What ``foresift suitability`` may have called the model of a run."""
    from foresift.app.training.starting import names_generation
    from foresift.models import canonical

    if not names_generation(file.model):
        return {canonical(file.model)}
    record = read_generation(workspace.generation_folder(file.model))
    return _names_of(record.architecture, record.id)


def _names_of(architecture: str, generation: str) -> set[str]:
    """What it may have called a generation."""
    return {architecture, f"{architecture} {generation[:8]}"}
