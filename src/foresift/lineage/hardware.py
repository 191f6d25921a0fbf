"""What a model costs on a device, by arithmetic alone: operations over operations a second.

An operation is one multiplication or one addition, so that a multiply-add counts as two: this
is how makers of devices count their TOPS. Papers on architectures often count multiply-adds
(GMACs) and call them FLOPs; ResNet-18 at 224 pixels is 1.8 GMACs, hence 3.6 GOPs here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foresift.core.errors import DataError, UsageError

OPERATIONS_A_MAC = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something that runs models, by the peak that its maker states."""

    name: str
    tops: float
    """10^12 operations a second."""
    note: str = ""
    """Of which precision and source the peak is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One model on one device."""

    device: str
    tops: float
    theoretical_ms: float
    """At the device's peak: no implementation is faster, most are several times slower."""
    theoretical_fps: float
    fits: bool | None = None
    """Whether it keeps up with the frames; None where no frame rate was asked for."""


def latency_ms(gops: float, tops: float, *, utilisation: float = 1.0) -> float:
    """Milliseconds for ``gops`` 10^9 operations at a share of ``tops`` 10^12 operations a second.

    Args:
        utilisation: share of the peak that is reached, within (0, 1].
    Raises:
        UsageError: a figure that is not finite and above 0, or a share above 1.
    Source: Frickenstein et al. 2024, table 2: ms = GOPs / TOPS.
    """
    for name, value in (("GOPs", gops), ("TOPS", tops), ("utilisation", utilisation)):
        if not math.isfinite(value) or value <= 0:
            raise UsageError(f"{name} must be a number above 0, got {value:g}")
    if utilisation > 1:
        raise UsageError(f"utilisation is a share of the peak, within 0 .. 1, got {utilisation:g}")
    return gops / (tops * utilisation)


def frame_budget_ms(fps: float) -> float:
    """Milliseconds between two frames.

    Raises:
        UsageError: a rate that is not finite and above 0.
    """
    if not math.isfinite(fps) or fps <= 0:
        raise UsageError(f"frames a second must be a number above 0, got {fps:g}")
    return 1000 / fps


def fit(gops: float, device: Device, *, fps: float | None = None) -> Fit:
    """What a model of ``gops`` costs on a device, and whether it keeps up with ``fps`` frames a second."""
    ms = latency_ms(gops, device.tops)
    fits = None if fps is None else ms <= frame_budget_ms(fps)
    return Fit(device=device.name, tops=device.tops, theoretical_ms=ms, theoretical_fps=1000 / ms, fits=fits)


def parse_devices(plain: object, *, where: str) -> tuple[Device, ...]:
    """Devices of a table ``{devices: {NAME: {tops: NUMBER, note: TEXT}}}``, in its order.

    Args:
        where: what the table is called in errors.
    Raises:
        DataError: no such table, or a device without a usable TOPS figure; names it.
    """
    if not isinstance(plain, Mapping) or not isinstance(plain.get("devices"), Mapping):
        raise DataError(f"{where}: expected a table devices: with one entry a device, such as NAME: {{tops: 21}}")
    return tuple(_device(str(name), entry, where) for name, entry in plain["devices"].items())


def merge_devices(*tables: tuple[Device, ...]) -> tuple[Device, ...]:
    """The devices of all tables; a later table replaces the devices whose names it repeats."""
    return tuple({device.name: device for table in tables for device in table}.values())


def _device(name: str, entry: Any, where: str) -> Device:
    if not isinstance(entry, Mapping) or "tops" not in entry:
        raise DataError(f"{where}: device {name} has no tops; give its peak in 10^12 operations a second")
    unknown = sorted(map(str, set(entry) - {"tops", "note"}))
    if unknown:
        raise DataError(f"{where}: device {name} has an unknown key {unknown[0]!r}; there are tops and note")
    tops = entry["tops"]
    if isinstance(tops, bool) or not isinstance(tops, int | float) or not math.isfinite(tops) or tops <= 0:
        raise DataError(f"{where}: tops of device {name} must be a number above 0, got {str(tops)[:40]!r}")
    return Device(name=name, tops=float(tops), note=str(entry.get("note", "")))
