"""Small runs for tests: few images, a tiny model, two epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

RECIPE = {"epochs": 2, "batch_size": 16, "optimizer": "adamw", "lr": 0.01, "precision": "32"}


def write_run(folder: Path, images: Path, /, **changed: Any) -> Path:
    """A run file for a folder of images; what is None is left out."""
    keys = {
        "pool": str(images),
        "oracle": "folders",
        "model": "mlp:8",
        "strategy": "margin",
        "rounds": 3,
        "budget": 10,
        "seed": 0,
        "recipe": RECIPE,
        **changed,
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in keys.items() if value is not None}))
    return file
