"""``foresift labels``: what people answered, taken in, looked at, written out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Home, Json
from foresift.cli.output import emit_json, note, say, table

if TYPE_CHECKING:
    from foresift.app.runs.labels import Imported
    from foresift.core.labels import LabelRecord

Run = Annotated[
    str | None, typer.Option("--run", help="Id of a run, or its beginning.", show_default="the only one going on")
]
RoundNumber = Annotated[int | None, typer.Option("--round", min=1, help="Number of a round.", show_default="all")]

LIST_COLUMNS = ("sample", "value", "round", "annotator", "at", "cost", "source")
SHOWN = 20

app = typer.Typer(help="Labels of a run: import, list, compare, export.", no_args_is_help=True)


@app.command("import")
def import_labels(
    source: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="Labels as CSV, JSONL or Parquet; masks.")],
    run: Run = None,
    number: RoundNumber = None,
    annotator: Annotated[str, typer.Option(help="Who answered, where the file does not say.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be stored and refused.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Store labels from files: all of them, or none if one can't be taken."""
    from foresift.app.runs.labels import Import
    from foresift.app.runs.labels import import_labels as run_import
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    job = Import(source=source, run=run, round=number, annotator=annotator, dry_run=dry_run)
    done = run_import(workspace, workspace.records(), job)
    if as_json:
        emit_json(_import_json(done, dry_run))
        return
    _say_import(done, dry_run)


@app.command("list")
def list_labels(
    run: Run = None,
    number: RoundNumber = None,
    history: Annotated[bool, typer.Option("--history", help="Answers that were corrected, too.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List the answers of a run in order of arrival."""
    from foresift.app.runs.labels import chosen_run, labels_of
    from foresift.app.workspace import Workspace

    records = Workspace.open(home).records()
    found = chosen_run(records, run)
    rows = [_row(one) for one in labels_of(records, found, number=number, history=history)]
    if as_json:
        emit_json({"run": found.id, "labels": rows})
        return
    table(rows, LIST_COLUMNS)
    note(f"run {found.id}: {len(rows):,} answers")


@app.command()
def agreement(run: Run = None, number: RoundNumber = None, home: Home = None, as_json: Json = False) -> None:
    """Say how far several annotators of a run agree, and about which samples they don't."""
    from foresift.app.runs.labels import agreement_of, chosen_run
    from foresift.app.workspace import Workspace

    records = Workspace.open(home).records()
    found = agreement_of(records, chosen_run(records, run), number=number)
    disputed = [_dispute(one) for one in found.disputed]
    pairs = [one._asdict() for one in found.pairs]
    if as_json:
        emit_json(
            {
                "annotators": list(found.annotators),
                "samples": found.samples,
                "share": found.share,
                "fleiss_kappa": found.fleiss,
                "pairs": pairs,
                "disputed": disputed,
            }
        )
        return
    if not found.samples:
        say(f"no sample was labeled by two annotators yet ({len(found.annotators)} so far)")
        return
    kappa = "undefined, all answers are of one class" if found.fleiss is None else f"{found.fleiss:.3f}"
    say(f"{found.samples:,} samples by two or more: agreement {found.share:.3f}, Fleiss' kappa {kappa}")
    table(pairs, ("first", "second", "samples", "share", "kappa"))
    if disputed:
        say(f"{len(disputed):,} samples are labeled differently; with equally many votes the first answer counts:")
        table(disputed[:SHOWN], ("sample", "label", "votes", "tied"))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Write .csv, .jsonl or .parquet.")],
    run: Run = None,
    number: RoundNumber = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the labels of a run as a file for foresift train --labels; one row a sample."""
    from foresift.app.runs.labels import chosen_run, export_labels
    from foresift.app.workspace import Workspace

    records = Workspace.open(home).records()
    count = export_labels(records, chosen_run(records, run), out, number=number)
    if as_json:
        emit_json({"file": str(out), "labels": count})
        return
    say(f"{out}: {count:,} labels")


def _row(one: LabelRecord) -> dict[str, Any]:
    return {
        "sample": one.sample_id,
        "value": one.value,
        "round": one.round,
        "annotator": one.annotator,
        "at": one.at,
        "cost": one.cost,
        "source": one.source,
        "id": one.id,
        "supersedes": one.supersedes,
    }


def _dispute(one: Any) -> dict[str, Any]:
    votes = " ".join(f"{value}={count}" for value, count in one.votes)
    return {"sample": one.sample_id, "label": one.value, "votes": votes, "tied": one.tied}


def _import_json(done: Imported, dry_run: bool) -> dict[str, Any]:
    return {
        "run": done.run.id,
        "dry_run": dry_run,
        "files": [str(path) for path in done.files],
        **done.news._asdict(),
        "cannot_tell": done.cannot_tell,
        "late": done.late,
        "unasked": done.unasked,
        "refused": [one._asdict() for one in done.refused],
        "open": [
            {
                "round": number,
                "asked": one.asked,
                "answered": one.bought,
                "cannot_tell": one.cannot_tell,
                "missing": len(one.missing),
            }
            for number, one in done.open.items()
        ],
    }


def _say_import(done: Imported, dry_run: bool) -> None:
    new, corrections, repeated = done.news
    verb = "would be stored" if dry_run else "stored"
    say(f"run {done.run.id}: {new:,} labels and {corrections:,} corrections {verb}, {repeated:,} known already")
    if done.cannot_tell:
        note(f"{done.cannot_tell:,} of them say cannot-tell: never trained on, and not asked again")
    if done.late:
        note(f"{done.late:,} answer rounds that are closed: they are used from the next training on")
    if done.unasked:
        note(f"{done.unasked:,} are of samples that no round asked for")
    for one in done.refused[:SHOWN]:
        note(f"refused: {one}")
    if len(done.refused) > SHOWN:
        note(f"... and {len(done.refused) - SHOWN:,} more (--json lists all)")
    for number, now in done.open.items():
        say(f"round {number}: {now.bought:,} of {now.asked:,} answered, {len(now.missing):,} to go")


GROUPS = {"labels": app}
