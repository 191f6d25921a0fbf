"""``foresift suitability`` and ``foresift calibration``: what a surrogate promises, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from foresift.cli.options import Home, Json, Seed
from foresift.cli.output import emit_json, note, say, table
from foresift.cli.progress import progress
from foresift.core.errors import UsageError

if TYPE_CHECKING:
    from foresift.lineage.calibration import Calibration
    from foresift.lineage.suitability import Interval, Suitability

WIDTH = 100
Surrogate = Annotated[str, typer.Option(help="The model that would choose: a generation, or an architecture.")]
Deployment = Annotated[str, typer.Option(help="The model that would learn: a generation, or an architecture.")]
ScoreName = Annotated[str, typer.Option(help="entropy, margin, least-confidence or ratio.")]


def suitability(
    surrogate: Surrogate,
    deployment: Deployment,
    data: Annotated[
        str | None, typer.Option(metavar="LABELED", help="Labeled images.", show_default="the surrogate's own")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Labels of the images, as a file.")] = None,
    score: ScoreName = "margin",
    budget: Annotated[
        int | None, typer.Option(min=1, help="Largest scores compared.", show_default="a fifth of the labels")
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts of the labels, each scored by a model that did not see it.")] = 5,
    pilots: Annotated[int, typer.Option(help="Rehearsals on owned labels; 0 = none, 2 or more give an interval.")] = 4,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of every training.", show_default="as each model's recipe says")
    ] = None,
    seed: Seed = 0,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Should this model choose labels for that one? Judged on labels already owned; trains, buys nothing."""
    from foresift.app.generations.suitability import SuitabilityRequest, assess
    from foresift.app.workspace import Workspace

    request = SuitabilityRequest(
        surrogate=surrogate,
        deployment=deployment,
        data=data,
        labels=labels,
        score=score,
        budget=budget,
        folds=folds,
        pilots=pilots,
        epochs=epochs,
        seed=seed,
        progress=progress(quiet=as_json),
    )
    note(f"training {request.trainings} models on parts of the labels")
    done = assess(Workspace.open(home), request)
    if as_json:
        emit_json(
            {
                "surrogate": done.surrogate,
                "deployment": done.deployment,
                "score": score,
                **asdict(done.found),
                "evidence": done.found.evidence,
                "findings": done.sentences,
                "trainings": done.trainings,
                "notes": list(done.notes),
            }
        )
        return
    for remark in done.notes:
        note(f"note: {remark}")
    table(_rows(done.found), ("figure", "value", "95 % interval", "what it is"))
    say()
    for sentence in done.sentences:
        say(fill(sentence, WIDTH))


def calibration(
    surrogate: Annotated[str | None, typer.Option(help="As foresift suitability named it.")] = None,
    deployment: Annotated[str | None, typer.Option(help="As foresift suitability named it.")] = None,
    score: ScoreName = "margin",
    realised: Annotated[
        float | None, typer.Option(help="Gain over as many random labels that came of it, such as 0.012.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Predictions beside realised gains, and how well they fitted; with --realised, write what came of one."""
    from foresift.app.generations.calibrating import calibration_of, forecasts, record_outcome
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    if realised is not None:
        if surrogate is None or deployment is None:
            raise UsageError("--realised belongs to a pair: give --surrogate and --deployment")
        record_outcome(workspace, surrogate=surrogate, deployment=deployment, score=score, realised=realised)
    rows = [
        one
        for one in forecasts(workspace)
        if surrogate in (None, one.surrogate) and deployment in (None, one.deployment)
    ]
    found = calibration_of(workspace)
    if as_json:
        emit_json({"forecasts": [asdict(one) for one in rows], "calibration": [asdict(one) for one in found]})
        return
    if not rows:
        say("no prediction yet; foresift suitability makes one")
        return
    shown = ("when", "surrogate", "deployment", "score", "U", "low", "high", "pilot", "run", "round", "realised")
    table([asdict(one) | {"U": one.predicted, "round": one.round or ""} for one in rows], shown)
    say()
    if not found:
        say("no outcome is known yet")
        return
    _show_fit(found)


def _rows(found: Suitability) -> list[dict[str, str]]:
    chance = f"share of the {found.budget} largest in common; {found.overlap_by_chance:.2f} by chance"
    rows = [
        _row("U", found.usefulness, f"rank correlation of score and loss, {found.labels} labels out of fold"),
        _row("R", found.reliability, "rank correlation of two trainings of the surrogate"),
        _row("O", found.overlap, chance),
        {"figure": "variation", "value": f"{found.variation:.2f}", "what it is": "standard deviation over mean"},
    ]
    if found.fit is not None:
        about = "accuracy of the deployment model on labels that the surrogate chose, after learning them"
        rows.append({"figure": "fit", "value": f"{found.fit:.3f}", "what it is": about})
    if found.pilot is not None:
        rows.append(_row("pilot", found.pilot, f"gain in {found.pilot_unit} over random, {found.pilots} rehearsals"))
    return rows


def _show_fit(found: Sequence[Calibration]) -> None:
    from foresift.lineage.calibration import LEAST_PREDICTIONS

    rows = [_fit_row(one) for one in found]
    table(rows, tuple(rows[0]))
    say()
    told = (
        "U predicts an order, the rehearsals (pilot) a gain. Each prediction counts once, by its mean outcome; "
        f"- says that there are fewer than {LEAST_PREDICTIONS} to compare"
    )
    say(fill(told, WIDTH))


def _fit_row(one: Calibration) -> dict[str, str]:
    from foresift.lineage.suitability import spoken

    return {
        "score": one.score,
        "outcomes": f"{one.outcomes}",
        "predictions": f"{one.predictions}",
        "U ranks by": "-" if one.usefulness is None else spoken(one.usefulness),
        "rehearsed": f"{one.piloted}",
        "pilot ranks by": "-" if one.pilot is None else spoken(one.pilot),
        "right sign": "-" if one.right_sign is None else f"{one.right_sign:.0%}",
        "points off": "-" if one.off_by is None else f"{100 * one.off_by:.1f}",
    }


def _row(name: str, interval: Interval, about: str) -> dict[str, str]:
    return {
        "figure": name,
        "value": f"{interval.value:+.3f}",
        "95 % interval": f"{interval.low:+.3f} to {interval.high:+.3f}",
        "what it is": about,
    }


COMMANDS = (suitability, calibration)
