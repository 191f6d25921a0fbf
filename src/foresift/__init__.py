"""Foresift sifts today's images for tomorrow's model.

The names below are loaded on first use, so that ``import foresift`` takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foresift.app.python import adopt, evaluate, explain, predict, replay, train
    from foresift.app.python_pixels import (
        evaluate_segmentation,
        export,
        heatmap,
        import_masks,
        masks,
        select_pool,
        sheet,
        train_segmentation,
    )
    from foresift.app.selecting.arrays import score, select
    from foresift.client import Client
    from foresift.core.errors import ForesiftError
    from foresift.core.generations import Generation
    from foresift.core.predictions import Predictions
    from foresift.core.queries import Receipt, Selection
    from foresift.core.samples import Pool, Sample
    from foresift.selection.control import control_estimates
    from foresift.selection.guards import Guards
    from foresift.service.server import Server

    __version__: str

_HOMES = {
    "Client": "foresift.client",
    "Server": "foresift.service.server",
    "ForesiftError": "foresift.core.errors",
    "Generation": "foresift.core.generations",
    "Guards": "foresift.selection.guards",
    "Pool": "foresift.core.samples",
    "Predictions": "foresift.core.predictions",
    "Receipt": "foresift.core.queries",
    "Sample": "foresift.core.samples",
    "Selection": "foresift.core.queries",
    "adopt": "foresift.app.python",
    "control_estimates": "foresift.selection.control",
    "evaluate": "foresift.app.python",
    "explain": "foresift.app.python",
    "predict": "foresift.app.python",
    "replay": "foresift.app.python",
    "train": "foresift.app.python",
    "score": "foresift.app.selecting.arrays",
    "select": "foresift.app.selecting.arrays",
    "evaluate_segmentation": "foresift.app.python_pixels",
    "export": "foresift.app.python_pixels",
    "heatmap": "foresift.app.python_pixels",
    "import_masks": "foresift.app.python_pixels",
    "masks": "foresift.app.python_pixels",
    "select_pool": "foresift.app.python_pixels",
    "sheet": "foresift.app.python_pixels",
    "train_segmentation": "foresift.app.python_pixels",
}

__all__ = [
    "Client",
    "ForesiftError",
    "Generation",
    "Guards",
    "Pool",
    "Predictions",
    "Receipt",
    "Sample",
    "Selection",
    "Server",
    "__version__",
    "adopt",
    "control_estimates",
    "evaluate",
    "evaluate_segmentation",
    "explain",
    "export",
    "heatmap",
    "import_masks",
    "masks",
    "predict",
    "replay",
    "score",
    "select",
    "select_pool",
    "sheet",
    "train",
    "train_segmentation",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("foresift.core.about").foresift_version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'foresift' has no attribute {name!r}")
    globals()[name] = value  # next time without this function
    return value


def __dir__() -> list[str]:
    return __all__
