"""``foresift study defects``: does the most uncertain part of an image find small defects that its mean hides?

NEU-Seg stands for the steel sheets of Neven and Goedemé 2022, section 4.3.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from foresift.core.protocols import Progress, Silent
from foresift.studies.image_sets import data_folder
from foresift.studies.masks.patches import chosen_arms, chosen_preset
from foresift.studies.masks.report import Comparison
from foresift.studies.masks.rounds import Arm, Measure, Row, Size, cells
from foresift.studies.masks.sets import MaskSet, defect_shares, mask_set
from foresift.studies.parts import WHOLE, Part

SMALL_SHARE = 0.02
"""An image has a small defect if its defects together cover some of it, but no more than this share."""
RANDOM = "random"
ARMS = (
    Arm(name=RANDOM, strategy="random"),
    Arm(name="mean", strategy="entropy", aggregate="mean"),
    Arm(name="max", strategy="entropy", aggregate="max"),
    Arm(name="top-patches-64", strategy="entropy", aggregate="top-patches:patch=64,top=4"),
    Arm(name="top-patches-32", strategy="entropy", aggregate="top-patches:patch=32,top=4"),
)
PRESETS = {
    "cpu": Size(pool=1_500, start=100, step=100, steps=500),
    "scoring": Size(image_size="128x128", start=200, step=100, trained=0, steps=600),
    "paper": Size(model="deeplabv3plus:resnet18", start=200, step=200, rounds=5, steps=6_000, seeds=5),
    "smoke": Size(
        model="deeplabv3plus:mobilenetv3_small_050", image_size="64x64", pool=20, start=4, step=3, steps=4, seeds=1
    ),
}
"""``scoring`` trains the first models only: what is chosen, not what comes of it. ``paper`` is for a GPU."""


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
        only: arms beside ``random``, such as ``mean``; empty = all.
        part: seeds that are run; the comparison holds no others.
    Raises:
        UsageError: no such preset or arm.
        DataError: the image set is not there.
    """
    size, arms = chosen_preset(PRESETS, preset), chosen_arms(ARMS, only, RANDOM)
    began, told = time.perf_counter(), progress or Silent()
    steel = mask_set("neu-seg", data_folder(data), cache=folder / "images")

    def measure(pool: Sequence[str]) -> Measure:
        return recall_of(small_defects(steel, pool))

    found = tuple(cells("defects", steel, arms, size, folder, measure=measure, progress=told, part=part))
    return Comparison(
        study="defects",
        title="Small defects: the mean of an image against its most uncertain patches (NEU-Seg)",
        preset=preset,
        size=size,
        baseline=RANDOM,
        arms=tuple(arm.name for arm in arms),
        cells=found,
        measure=f"recall of images whose defects cover at most {SMALL_SHARE:.0%}, among those not labeled before",
        seconds=time.perf_counter() - began,
    )


def small_defects(data: MaskSet, pool: Sequence[str]) -> frozenset[str]:
    """The images of a pool that have a small defect."""
    shares = defect_shares(data.listing, pool)
    return frozenset(image for image, share in shares.items() if 0 < share <= SMALL_SHARE)


def recall_of(wanted: frozenset[str]) -> Measure:
    """The share of the wanted images not labeled before that were chosen; 1 where there are none."""

    def recall(before: Sequence[Row], chosen: Sequence[Row]) -> float:
        left = wanted - {row["uri"] for row in before}
        return len(left & {row["uri"] for row in chosen}) / len(left) if left else 1.0

    return recall
