"""How large a study of ensembles is: what each image set is worked on with, on two cores and at the paper's scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foresift.engines import REFERENCE
from foresift.studies.image_sets import DIGITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How one image set is worked on."""

    model: str
    targets: tuple[str, ...]
    """Architectures that inherit what the first one found; it is among them."""
    recipe: Mapping[str, Any]
    sizes: tuple[float, ...] = (0.125, 0.25, 0.5)
    runs: int = 3
    last: int = 5
    """Last epochs of each run that are members."""
    longest: int = 20
    """Last epochs whose consensus is counted."""
    fine_tune: Mapping[str, Any] = field(default_factory=lambda: {"epochs": 10, "lr": 1e-3})
    engine: str = REFERENCE
    """What checkpoints answer with; the reference where it is not installed."""
    trials: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The size of a study."""

    sets: Mapping[str, Setting]


SMALL = {"epochs": 30, "batch_size": 64, "optimizer": "adamw", "lr": 0.01, "precision": "32"}
NATURAL = {"epochs": 10, "batch_size": 64, "augment": "flip-crop", "schedule": "onecycle", "lr": 0.1}
PAPER = {"epochs": 150, "batch_size": 128, "augment": "flip-crop", "schedule": "multistep", "lr": 0.1}
PRESETS = {
    "cpu": Preset(
        sets={
            DIGITS: Setting(model="mlp:128", targets=("mlp:128", "cnn:8", "mlp:16"), recipe=SMALL, runs=2),
            "cifar10": Setting(
                model="cnn:24",
                targets=("cnn:24", "cnn:8"),
                recipe=NATURAL,
                runs=2,
                longest=10,
                engine="openvino-f32",
                trials=3,
            ),
        },
    ),
    "paper": Preset(
        sets={
            "cifar10-50k": Setting(
                model="resnet18-small",
                targets=("resnet18-small", "resnet34-small"),
                recipe=PAPER,
                runs=8,
                last=20,
                trials=3,
            ),
            "cifar100": Setting(
                model="resnet18-small",
                targets=("resnet18-small", "resnet34-small"),
                recipe=PAPER,
                sizes=(0.2, 0.4, 0.8),
                runs=8,
                last=20,
                trials=3,
            ),
            "imagenet-64": Setting(
                model="resnet18",
                targets=("resnet18", "resnet34", "resnet50"),
                recipe=PAPER,
                sizes=(0.2, 0.4, 0.8),
                runs=4,
                last=20,
                trials=3,
            ),
        },
    ),
    "smoke": Preset(
        sets={
            DIGITS: Setting(
                model="mlp:8",
                targets=("mlp:8", "mlp:4"),
                recipe={"epochs": 3, "optimizer": "adamw", "lr": 0.01},
                runs=2,
                last=2,
                longest=3,
                fine_tune={"epochs": 2, "lr": 1e-3},
                trials=2,
            )
        },
    ),
}
