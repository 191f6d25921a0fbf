"""The public names, pinned: adding one is a decision, losing one is a breakage."""

from __future__ import annotations

import subprocess
import sys

import pytest

import foresift

NAMES = {
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
}


def test_the_public_names_are_these() -> None:
    assert set(foresift.__all__) == NAMES
    assert foresift.__all__ == sorted(foresift.__all__)
    assert set(dir(foresift)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(foresift, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sellect'"):
        foresift.sellect  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, foresift; print(sorted({'numpy', 'scipy', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout.strip() == "[]"


def test_selection_needs_no_torch() -> None:
    code = (
        "import sys, foresift; foresift.select; from foresift.strategies import describe; describe();"
        "print(sorted({'torch', 'sklearn', 'numba', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout.strip() == "[]"
