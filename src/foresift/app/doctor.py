"""``foresift doctor``: what this installation can do, and what is wrong with it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from foresift.app.workspace import Workspace
from foresift.core.about import foresift_version

_PACKAGES = {
    "vision": ("torch", "torchvision", "timm", "pytorch-lightning", "torchmetrics", "pylance", "simplejpeg"),
    "openvino": ("openvino",),
    "int8": ("nncf",),
}
_LOW_DISK_BYTES = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the examination."""

    what: str
    value: str
    fine: bool = True
    advice: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """Versions, optional parts, engines, the workspace and its disk."""
    return [
        Finding(what="foresift", value=foresift_version()),
        Finding(what="python", value=f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding(what="processors", value=str(os.cpu_count())),
        *_packages(),
        *_engines(),
        *_workspace(workspace),
    ]


def _packages() -> list[Finding]:
    return [_package(name, extra) for extra, names in _PACKAGES.items() for name in names]


def _package(name: str, extra: str) -> Finding:
    try:
        return Finding(what=name, value=version(name))
    except PackageNotFoundError:
        advice = f"pip install 'foresift[{extra}]'"
        return Finding(what=name, value="not installed (optional)", advice=advice)


def _engines() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return [Finding(what="engines", value="none: torch is not installed")]
    from foresift.app.models.engine_choice import candidates
    from foresift.engines import available, engine_identity

    auto = ", ".join(reversed(candidates())) or "none"
    return [
        Finding(what="engines", value=", ".join(available())),
        Finding(what="device", value=engine_identity("torch")[0]),
        Finding(what="tried by --engine auto", value=auto),
    ]


def _workspace(workspace: Workspace) -> list[Finding]:
    free = shutil.disk_usage(workspace.home).free
    low = free < _LOW_DISK_BYTES
    return [
        Finding(what="workspace", value=str(workspace.home)),
        Finding(what="cache", value=f"{_size(workspace.cache) / 1e6:.1f} MB (may be deleted at any time)"),
        Finding(what="receipts", value=str(len(list(workspace.receipts.glob("*.json"))))),
        Finding(
            what="free disk",
            value=f"{free / 1e9:.1f} GB",
            fine=not low,
            advice="free some space, or choose another --home" if low else "",
        ),
    ]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
