"""Commands about selections: select, replay, explain."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Batch, Checkpoints, EarlyStop, Engine, Home, Json, Ray, Seed, Strict
from foresift.cli.output import emit_json, note, notes_about_pool, percent, quarantine_json, say
from foresift.cli.progress import progress
from foresift.core.errors import UsageError

if TYPE_CHECKING:
    from foresift.app.selecting.request import Selected
    from foresift.core.queries import Receipt, Selection


def select(
    pool: Annotated[
        str | None,
        typer.Argument(metavar="POOL", help="A folder of images, a manifest, s3://..., or -.", show_default=False),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Labels to buy.", show_default=False)] = None,
    strategy: Annotated[str, typer.Option(help="NAME or NAME:key=value,... (foresift strategies).")] = "margin",
    model: Annotated[
        list[str] | None,
        typer.Option(help="A generation folder or id, or an ensemble; several are an ensemble.", show_default=False),
    ] = None,
    checkpoints: Checkpoints = "",
    early_stop: EarlyStop = "",
    draws: Annotated[
        int | None, typer.Option(min=1, help="Dropout passes of one model, for strategies that need members.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Instead of POOL: a Parquet file with id, logits, embedding.")
    ] = None,
    labeled: Annotated[Path | None, typer.Option(help="File of ids or uris that are labeled already.")] = None,
    seed: Seed = 0,
    min_distance: Annotated[
        float | None,
        typer.Option(help="Cosine distance (0 to 2) to keep to labeled, validation and other picked samples."),
    ] = None,
    validation: Annotated[
        str | None, typer.Option(metavar="FILE|POOL", help="Never pick these: a predictions file, or images.")
    ] = None,
    max_per_group: Annotated[int | None, typer.Option(min=1, help="Picks from one group of the manifest.")] = None,
    max_per_class: Annotated[int | None, typer.Option(min=1, help="Picks from one predicted class.")] = None,
    control: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the budget to draw at random, for unbiased estimates.")
    ] = 0.0,
    unit: Annotated[str, typer.Option(help="image or patch: what people label masks of.")] = "image",
    patch: Annotated[
        int | None, typer.Option(help="With --unit patch: its side in pixels, a multiple of 16.", show_default="256")
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(help="Of a score of pixels: mean, max or top-patches:patch=64,top=4.", show_default="mean"),
    ] = None,
    budget_pixels: Annotated[
        int | None, typer.Option(help="With --unit patch, in place of --budget: so many pixels.")
    ] = None,
    embeddings_from: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|low-level",
            help="Beside a segmentation model: a backbone to embed with, or its own features of edges and textures.",
            show_default="its last features",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write .csv, .jsonl or .parquet instead of printing CSV.")] = None,
    engine: Engine = "auto",
    batch: Batch = None,
    allow_short: Annotated[
        bool, typer.Option("--allow-short", help="Take what there is if the pool is smaller.")
    ] = False,
    strict: Strict = False,
    ray: Ray = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Choose what people should label next."""
    from foresift.app.passes.crews import crew_on
    from foresift.app.passes.stored import PassOptions
    from foresift.app.pixels.request import Dense
    from foresift.app.pixels.selection import select_images
    from foresift.app.selecting.guarding import Limits
    from foresift.app.selecting.pool_selection import row_columns, select_from_predictions
    from foresift.app.selecting.request import Request
    from foresift.app.workspace import Workspace
    from foresift.stores.tables import rows_to_csv

    if (pool is None) == (predictions is None):
        raise UsageError("give either POOL or --predictions FILE" + (", not both" if pool is not None else ""))
    if predictions is not None and (model or checkpoints or early_stop or draws):
        raise UsageError("--model has no part in a selection from --predictions; leave one of them out")
    if budget is not None and budget_pixels is not None:
        raise UsageError("give --budget, the number of labels, or --budget-pixels, the pixels of patches; not both")
    if budget is None and budget_pixels is None:
        raise UsageError("give the number of labels to buy with --budget N (or pixels of patches, --budget-pixels N)")
    dense = Dense(
        unit=unit, patch=patch, aggregate=aggregate, budget_pixels=budget_pixels, embeddings_from=embeddings_from
    )
    request = Request(
        strategy=strategy,
        budget=1 if budget is None else budget,
        labeled=labeled,
        seed=seed,
        allow_short=allow_short,
        out=out,
        control=control,
        checkpoints=checkpoints,
        draws=draws,
        early_stop=early_stop,
        limits=Limits(
            min_distance=min_distance,
            validation=validation,
            max_per_group=max_per_group,
            max_per_class=max_per_class,
        ),
        options=PassOptions(engine=engine, batch=batch, strict=strict, progress=progress(quiet=as_json)),
    )
    workspace = Workspace.open(home)
    if predictions is not None:
        if dense.asked or ray is not None:
            raise UsageError(
                "--unit, --aggregate, --embeddings-from and --ray read images; beside --predictions leave them out"
            )
        chosen = select_from_predictions(workspace, predictions, request)
    else:
        with crew_on(ray) as crew:
            shared = replace(request, options=replace(request.options, crew=crew))
            chosen = select_images(workspace, str(pool), shared, dense, model=model)
    if as_json:
        emit_json(_json(chosen))
        return
    if out is None:
        rows = chosen.selection.rows()
        say(rows_to_csv(rows, row_columns(rows)).rstrip("\n"))
    notes_about_pool(chosen.quarantined, chosen.notes)
    _summary(chosen, out)


def replay(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", help="A receipt, its selection file, or its id.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Recompute a selection from the store: the same ids, or what changed."""
    from foresift.app.selecting.receipts import replay as run
    from foresift.app.workspace import Workspace

    done = run(Workspace.open(home), receipt)
    if as_json:
        ids = done.selection.sample_ids.tolist()
        emit_json({"same": True, "receipt": done.receipt.id, "n": len(ids), "ids": ids})
        return
    say(f"the same {len(done.selection):,} ids by {_spoken(done.receipt.strategy)}, seed {done.receipt.seed}")


def explain(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", help="A receipt, its selection file, or its id.")],
    sample: Annotated[str, typer.Argument(metavar="ID", help="Id (or its beginning), uri or file name of a sample.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say why a sample was chosen, or why not."""
    from foresift.app.selecting.explaining import explain as run
    from foresift.app.workspace import Workspace

    found = run(Workspace.open(home), receipt, sample)
    if as_json:
        emit_json(asdict(found))
        return
    say(f"{found.sample_id}  {found.uri}".strip())
    say(f"{'chosen' if found.chosen else 'not chosen'}: {found.reason}")
    if found.score is not None:
        say(f"score {found.score:.6g}")
    if found.classes:
        say("model's view: " + ", ".join(f"{name} {percent(p)}" for name, p in found.classes))
    for near in found.neighbours:
        say(f"  rank {near['rank']:>6}  score {near['score']:.6g}  {near['id']}")


def _json(chosen: Selected) -> dict[str, Any]:
    selection = chosen.selection
    return {
        "selected": selection.rows(),
        "receipt": {"id": selection.receipt.id, **selection.receipt.to_dict()},
        "receipt_path": str(chosen.receipt_path),
        "quarantined": quarantine_json(chosen.quarantined),
        "notes": list(chosen.notes),
        "inferred": None if chosen.result is None else chosen.result.report.inferred,
    }


def _summary(chosen: Selected, out: Path | None) -> None:
    selection: Selection = chosen.selection
    receipt = selection.receipt
    short = ", all there are" if receipt.short else ""
    how = _spoken(receipt.strategy)
    note(f"selected {len(selection):,} of {receipt.n_candidates:,} by {how}, seed {receipt.seed}{short}")
    if members := receipt.model.get("members"):
        note(f"{len(members)} members; logits are the {receipt.model['logits']}")
    if "early_stop" in receipt.model:
        note(_stopped(receipt))
    if "why" in receipt.details:
        note(f"{receipt.details['ran']} ran: {receipt.details['why']}")
    if "auto" in receipt.pool:
        note(f"{receipt.pool['auto']['ran']} ran: {receipt.pool['auto']['why']}")
    for line in _guards_and_control(selection):
        note(line)
    if chosen.result is not None:
        report, choice = chosen.result.report, chosen.result.choice
        note(f"{report.inferred:,} images inferred; engine {choice.engine} ({choice.reason})")
    note(f"receipt {receipt.id[:12]} in {chosen.receipt_path}")
    if out is not None and "unit" in receipt.pool:
        kind = "crops" if receipt.pool["unit"] == "patch" else "coco"
        note(f"next: foresift export {shlex.quote(str(out))} --format {kind} --out DIR")
    elif out is not None:
        note(
            f"next: fill in the label column of {out}, then: "
            f"foresift train POOL --labels {shlex.quote(str(out))} --model NAME --out DIR"
        )


def _spoken(spelled: str) -> str:
    """A strategy of a receipt, scores of pixels as they were typed."""
    from foresift.app.pixels.strategies import as_typed
    from foresift.strategies import parse

    strategy = parse(spelled)
    typed = as_typed(strategy)
    return spelled if typed == strategy.name else typed


def _stopped(receipt: Receipt) -> str:
    """Whether the rule of an early stop held, in one line."""
    seen = receipt.model["early_stop"]
    return receipt.approx or f"the order of the first {seen['k']:,} did not settle: all {seen['of']} members were heard"


def _guards_and_control(selection: Selection) -> list[str]:
    """What guards removed and cost, and how large the control arm is."""
    guards, control = selection.receipt.guards, selection.receipt.control
    lines = []
    if guards:
        removed = ", ".join(f"{count:,} {reason}" for reason, count in guards["removed"].items()) or "nothing"
        cost = f"; down to rank {guards['rank_reached']:,}" if "rank_reached" in guards else ""
        given_up = f", mean score {guards['mean_score_given_up']:.3g} lower" if cost else ""
        lines.append(f"guards removed {removed}{cost}{given_up}")
    if control:
        lines.append(f"control arm: {control['size']:,} drawn at random from {control['population']:,}")
    return lines


COMMANDS = (select, replay, explain)
