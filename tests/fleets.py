"""Runs of a device, and what it sent."""

from __future__ import annotations

from pathlib import Path

from foresift.app.fleet.device_run import DeviceRun
from foresift.core.hits import Hit
from foresift.stores.spool import read_hit


def job(exported: Path, spool: Path, **options: object) -> DeviceRun:
    return DeviceRun(**{"folder": exported, "spool": spool, "device": "cam-1", "day": "day-1", **options})


def hits(folder: Path) -> list[Hit]:
    return [read_hit(path) for path in sorted(folder.glob("*.json"))]
