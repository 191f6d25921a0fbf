"""``foresift hardware``: operations, parameters and latencies of models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foresift.cli.options import Home, Json
from foresift.cli.output import emit_json, note, say, table
from foresift.core.errors import UsageError

if TYPE_CHECKING:
    from foresift.app.generations.hardware import Costs
    from foresift.app.generations.pool_cost import PoolCost
    from foresift.lineage.hardware import Device


def hardware(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Architectures, generation folders or ids; none = every generation of the workspace.",
            show_default=False,
        ),
    ] = None,
    gops: Annotated[
        float | None, typer.Option(help="In place of MODEL: 10^9 operations, two a multiply-add.", show_default=False)
    ] = None,
    tops: Annotated[
        float | None, typer.Option(help="With --gops: a device's 10^12 operations a second.", show_default=False)
    ] = None,
    devices: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yml", help="Further devices: devices: {NAME: {tops: 21}}.", show_default=False),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second to keep up with.", show_default=False)] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="N|WxH", help="Pixels of the input.", show_default="the generation's; 32, timm's 224"),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Time warm forward passes on this machine.")
    ] = True,
    pool: Annotated[
        str | None,
        typer.Option(metavar="POOL", help="Also say how long generations take to score this pool.", show_default=False),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Say what a model costs: operations, parameters, theoretical and measured latency."""
    from foresift.app.generations.hardware import Asked, all_generations, costs, known_devices
    from foresift.app.generations.pool_cost import pool_cost
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    known = known_devices(workspace, devices)
    if gops is not None or tops is not None:
        if model or pool or gops is None:
            raise UsageError("--gops goes without MODEL and --pool; --tops goes with --gops")
        _arithmetic(gops, tops, known, fps, as_json)
        return
    asked = Asked(devices=known, size=_size(size), fps=fps, measure=measure)
    names = model or all_generations(workspace)
    if pool:  # scores come from trained models; said before anything is measured
        for name in names:
            workspace.generation_folder(name)
    found = [costs(workspace, name, asked) for name in names]
    pools = [pool_cost(workspace, pool, name) for name in names] if pool else []
    if as_json:
        emit_json(_json(found, known, pools, fps))
        return
    _show(found, known, pools, fps)


def _arithmetic(gops: float, tops: float | None, known: tuple[Device, ...], fps: float | None, as_json: bool) -> None:
    from foresift.lineage.hardware import Device, fit

    chosen = known if tops is None else (Device(name="given", tops=tops),)
    fits = [fit(gops, device, fps=fps) for device in chosen]
    if as_json:
        emit_json({"gops": gops, "devices": [asdict(one) for one in fits]})
        return
    for one in fits:
        name = "" if tops is not None else f"{one.device}: "
        keeps = (
            "" if one.fits is None else f"; {'keeps' if one.fits else 'does not keep'} up with {fps:g} frames a second"
        )
        say(f"{name}{one.theoretical_ms:.1f} ms theoretical ({gops:g} GOPs at {one.tops:g} TOPS){keeps}")


def _size(text: str | None) -> tuple[int, int] | None:
    """(height, width) of ``N`` or ``WxH``."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    height = height or width
    if not (width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {text!r}: expected pixels such as 224 or 640x480")
    return int(height), int(width)


def _json(found: list[Costs], known: tuple[Device, ...], pools: list[PoolCost], fps: float | None) -> dict[str, Any]:
    from foresift.app.generations.hardware import fitting

    rows = [asdict(one) for one in found]
    for row, cost in zip(rows, pools, strict=False):
        row["pool"] = asdict(cost)
    answer: dict[str, Any] = {"models": rows, "convention": "1 multiply-add = 2 operations"}
    if fps is not None:
        answer |= {"fps": fps, "fitting": {device.name: fitting(found, device.name) for device in known}}
    return answer


def _show(found: list[Costs], known: tuple[Device, ...], pools: list[PoolCost], fps: float | None) -> None:
    from foresift.app.generations.hardware import fitting

    rows = [
        {
            "model": one.model,
            "input": f"{one.width}x{one.height}",
            "parameters": f"{one.parameters:,}",
            "GMACs": f"{one.gmacs:.4g}",
            "GOPs": f"{one.gops:.4g}",
            **{f"{on.device} ms*": f"{on.theoretical_ms:.3g}" for on in one.devices},
            "measured here ms": "-" if one.measured is None else f"{one.measured.median_ms:.3g}",
        }
        for one in found
    ]
    table(rows, list(rows[0]))
    note("* theoretical: GOPs / TOPS at the device's peak, one image at a time; 1 multiply-add = 2 operations")
    if fps is not None:
        for device in known:
            say(f"{device.name} at {fps:g} frames a second: {', '.join(fitting(found, device.name)) or 'none fits'}")
        here = [one.model for one in found if one.keeps_up_here]
        if any(one.measured for one in found):
            say(f"this machine at {fps:g} frames a second: {', '.join(here) or 'none fits'}")
    for one, cost in zip(found, pools, strict=False):
        say(
            f"{one.model}: scoring {cost.images - cost.stored:,} of {cost.images:,} images takes about "
            f"{cost.seconds:.3g} s ({cost.engine}, {cost.infer_ms:.3g} ms to infer and {cost.decode_ms:.3g} ms to "
            f"decode an image; {cost.stored:,} are in the store)"
        )


COMMANDS = (hardware,)
