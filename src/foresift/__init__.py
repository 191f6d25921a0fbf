"""Foresift sifts today's images for tomorrow's model.

The names below are loaded on first use, so that ``import foresift`` takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foresift.app.python import adopt, evaluate, explain, predict, replay, train
    from foresift.app.selecting import score, select
    from foresift.core.errors import ForesiftError
    from foresift.core.generations import Generation
    from foresift.core.predictions import Predictions
    from foresift.core.queries import Receipt, Selection
    from foresift.core.samples import Pool, Sample
    from foresift.selection.control import control_estimates
    from foresift.selection.guards import Guards

    __version__: str

_HOMES = {
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
    "score": "foresift.app.selecting",
    "select": "foresift.app.selecting",
}

__all__ = [
    "ForesiftError",
    "Generation",
    "Guards",
    "Pool",
    "Predictions",
    "Receipt",
    "Sample",
    "Selection",
    "__version__",
    "adopt",
    "control_estimates",
    "evaluate",
    "explain",
    "predict",
    "replay",
    "score",
    "select",
    "train",
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
