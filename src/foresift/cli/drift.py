"""``foresift drift``: does a pool still look like the one that a model was trained from?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from foresift.cli.options import Engine, Home, Json, PoolArgument, Seed, Strict
from foresift.cli.output import emit_json, note, notes_about_pool, quarantine_json, say, table
from foresift.cli.progress import progress


def drift(
    pool: PoolArgument,
    model: Annotated[str, typer.Option("--model", help="A generation folder or id.")],
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="POOL", help="Compare with these.", show_default="the pool that the model was trained from"
        ),
    ] = None,
    score: Annotated[str, typer.Option(help="A score of one model's logits.")] = "margin",
    alpha: Annotated[float, typer.Option(help="Rate of any false alarm among all sources and tests.")] = 0.01,
    seed: Seed = 0,
    engine: Engine = "auto",
    strict: Strict = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Compare scores and embeddings of a pool with the pool a model was trained from, per group of the manifest."""
    from foresift.app.generations.drift import DriftRequest
    from foresift.app.generations.drift import drift as run
    from foresift.app.passes.stored import PassOptions
    from foresift.app.workspace import Workspace

    options = PassOptions(engine=engine, strict=strict, progress=progress(quiet=as_json))
    request = DriftRequest(
        pool=pool, model=model, reference=reference, score=score, alpha=alpha, seed=seed, options=options
    )
    report = run(Workspace.open(home), request)
    if as_json:
        emit_json({**asdict(report), "quarantined": quarantine_json(report.quarantined)})
        return
    notes_about_pool(report.quarantined, report.notes)
    mean = f"mean {report.score} {report.reference_mean_score:.3f}"
    say(f"against {report.reference}: {report.reference_n:,} images, {mean}")
    rows = [
        {
            "group": one.group,
            "images": f"{one.n:,}",
            f"mean {report.score}": f"{one.mean_score:.3f}",
            "PSI": f"{one.psi:.3f}",
            "KS": f"{one.scores.statistic:.3f}",
            "p": f"{one.scores.p:.2g}",
            "MMD^2": f"{one.embeddings.statistic:.2g}",
            "p (MMD)": f"{one.embeddings.p:.2g}",
            "drifted": ", ".join(one.flagged) or "no",
        }
        for one in report.groups
    ]
    table(rows, list(rows[0]))
    if report.left_out:
        note(f"too few images to test: {', '.join(report.left_out)}")


COMMANDS = (drift,)
