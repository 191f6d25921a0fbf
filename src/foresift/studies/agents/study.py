"""``foresift study agent``: what choosing a strategy by trial costs, and what it loses, on real learning curves.

Huang et al. 2022 (ALaaS), Algorithm 1: the paper's seven strategies for eight rounds, beside a random
arm. Every arm is run to the end once; agents are then replayed on the curves, which costs nothing
and is exact because arms do not know of each other. Agents see an evaluation set only; what they
chose is judged on the test part.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from foresift.core.about import foresift_version
from foresift.core.digests import digest_value
from foresift.core.errors import UnknownNameError
from foresift.core.protocols import Progress, Silent
from foresift.studies.agents.arms import RANDOM, SHARED, Arm, Setting, ground
from foresift.studies.cells import kept_cell
from foresift.studies.parts import WHOLE, Part
from foresift.studies.surrogates.bench_of import bench_of
from foresift.studies.surrogates.benches import HeadBench, PixelBench
from foresift.studies.surrogates.protocol import Lessons, Protocol
from foresift.studies.threads import one_thread

_HEADS = Setting(images="cifar10", learner="heads", model="linear", budget=200, backbone="resnet8")
PRESETS: dict[str, tuple[Setting, ...]] = {
    "cpu": (
        Setting(images="digits", learner="pixels", model="mlp:128", budget=27, seeds=20),
        _HEADS,
        replace(_HEADS, images="caltech101", seeds=5),
    ),
    "smoke": (
        Setting(
            images="digits",
            learner="pixels",
            model="linear",
            budget=10,
            rounds=3,
            seeds=2,
            strategies=("margin", "k-center", RANDOM),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesResults:
    """All curves of one image set."""

    setting: Setting
    arms: tuple[Arm, ...]

    def arm(self, strategy: str, seed: int) -> Arm:
        """One curve."""
        return next(arm for arm in self.arms if (arm.strategy, arm.seed) == (strategy, seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """All image sets of a study."""

    preset: str
    sets: tuple[ImagesResults, ...]
    seconds: float
    """Of this call."""


def run(
    folder: Path,
    *,
    preset: str = "cpu",
    data: Path | None = None,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    part: Part = WHOLE,
) -> Study:
    """Run what is missing of a study; finished cells are read from ``folder``.

    Args:
        folder: cells, embeddings and decoded images are kept there.
        only: image sets; empty = all of the preset.
        part: seeds that are run; the study holds no others.
    Raises:
        UnknownNameError: no such preset or set.
        DataError: the images are not there.
    """
    settings, told = _settings(preset, only), progress or Silent()
    began = time.perf_counter()
    sets = tuple(_results(folder, setting, data, told, part) for setting in settings)
    return Study(preset=preset, sets=sets, seconds=time.perf_counter() - began)


def _settings(preset: str, only: Sequence[str]) -> list[Setting]:
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    names = [setting.images for setting in PRESETS[preset]]
    if unknown := [name for name in only if name not in names]:
        raise UnknownNameError("image set of this preset", unknown[0], names)
    return [setting for setting in PRESETS[preset] if not only or setting.images in only]


def _results(folder: Path, setting: Setting, data: Path | None, told: Progress, part: Part) -> ImagesResults:
    bench = bench_of(_protocol(setting), folder, data, told)
    assert isinstance(bench, PixelBench | HeadBench)  # noqa: S101 - settings name no other learner
    told.start(f"running every arm on {setting.images}", setting.seeds * (len(setting.strategies) + 1))
    arms = []
    with one_thread():
        for seed in part.among(range(setting.seeds)):
            here = ground(bench, setting, seed)
            for strategy in (*setting.strategies, SHARED):
                make = here.shared if strategy == SHARED else partial(here.arm, strategy)
                arms.append(kept_cell(folder / "cells" / _name(setting, strategy, seed), Arm, make))
                told.advance(1)
    told.done()
    return ImagesResults(setting=setting, arms=tuple(arms))


def _protocol(setting: Setting) -> Protocol:
    """What decodes and embeds the images; this study buys labels in its own way."""
    return Protocol(
        images=setting.images,
        learner=setting.learner,
        models=(setting.model,),
        backbone=setting.backbone,
        backbone_epochs=setting.backbone_epochs,
        recipe=Lessons(),
    )


def _name(setting: Setting, strategy: str, seed: int) -> Path:
    """Path of a cell, with a digest of all that it depends on: more seeds, or another arm, redo nothing."""
    plain = asdict(replace(setting, strategies=setting.strategies if strategy == SHARED else ()))
    del plain["seeds"]
    digest = digest_value([plain, asdict(Lessons()), foresift_version()])[:12]
    return Path(digest) / f"{setting.images}-{strategy.replace(':', '-').replace('=', '-')}-{seed}.json"
