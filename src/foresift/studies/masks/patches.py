"""``foresift study patches``: whole images against patches of them on CamVid, at the same labeled area."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from foresift.core.errors import UsageError
from foresift.core.protocols import Progress, Silent
from foresift.studies.image_sets import data_folder
from foresift.studies.masks.report import Comparison
from foresift.studies.masks.rounds import Arm, Size, cells
from foresift.studies.masks.sets import mask_set
from foresift.studies.parts import WHOLE, Part

STRATEGIES = ("random", "entropy", "margin", "k-center", "ua-dpp")
ARMS = tuple(
    Arm(name=f"{name}-{unit}s" if unit == "image" else f"{name}-patches", strategy=name, unit=unit)
    for name in STRATEGIES
    for unit in ("image", "patch")
)
RANDOM = "random-images"
PRESETS = {
    "cpu": Size(image_size="240x180", start=18, step=18, patch=96, steps=240),
    "paper": Size(
        model="deeplabv3plus:resnet18", start=30, step=30, rounds=4, patch=96, steps=4_000, recipe={"crop": (320, 320)}
    ),
    "smoke": Size(
        model="deeplabv3plus:mobilenetv3_small_050",
        image_size="48x36",
        pool=12,
        start=3,
        step=2,
        patch=96,
        steps=4,
        seeds=1,
    ),
}
"""``cpu``: a tenth of the area, under two hours on two cores. ``paper``: for a GPU, as in Neven and Goedemé 2022."""


def run(
    folder: Path,
    *,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    part: Part = WHOLE,
) -> Comparison:
    """Run what is missing of the study; finished cells are read from ``folder``.

    Args:
        only: arms beside ``random-images``, such as ``entropy-patches``; empty = all.
        part: seeds that are run; the comparison holds no others.
    Raises:
        UsageError: no such preset or arm.
        DataError: the image set is not there.
    """
    size, arms = chosen_preset(PRESETS, preset), chosen_arms(ARMS, only, RANDOM)
    began, told = time.perf_counter(), progress or Silent()
    camvid = mask_set("camvid", data_folder(data), cache=folder / "images")
    found = tuple(cells("patches", camvid, arms, size, folder, measure=None, progress=told, part=part))
    return Comparison(
        study="patches",
        title="Whole images against patches at equal labeled area (CamVid)",
        preset=preset,
        size=size,
        baseline=RANDOM,
        arms=tuple(arm.name for arm in arms),
        cells=found,
        measure="",
        seconds=time.perf_counter() - began,
    )


def chosen_preset(presets: dict[str, Size], name: str) -> Size:
    """The size of that name; raises ``UsageError`` where there is none."""
    if name not in presets:
        raise UsageError(f"preset must be one of {', '.join(presets)}, got {name!r}")
    return presets[name]


def chosen_arms(arms: Sequence[Arm], only: Sequence[str], baseline: str) -> list[Arm]:
    """The arms asked for, the baseline first; raises ``UsageError`` for one that there is not."""
    known = {arm.name: arm for arm in arms}
    if wrong := [name for name in only if name not in known]:
        raise UsageError(f"--only {wrong[0]}: expected one of {', '.join(known)}")
    wanted = list(dict.fromkeys([baseline, *(only or known)]))
    return [known[name] for name in wanted]
