"""Recipes that turn labeled images or stored embeddings into trained networks, and how good they are.

The names below are loaded on first use, so that a recipe can be checked before torch is there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foresift.training.data import ArrayImages
    from foresift.training.head import fit_head
    from foresift.training.metrics import evaluate
    from foresift.training.recipe import Recipe
    from foresift.training.supervised import TrainResult, train

_HOMES = {
    "ArrayImages": "foresift.training.data",
    "Recipe": "foresift.training.recipe",
    "TrainResult": "foresift.training.supervised",
    "evaluate": "foresift.training.metrics",
    "fit_head": "foresift.training.head",
    "train": "foresift.training.supervised",
}

__all__ = ["ArrayImages", "Recipe", "TrainResult", "evaluate", "fit_head", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'foresift.training' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
