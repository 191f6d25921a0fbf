"""Trained generations: found complete, or kept and cleaned up after."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.training.request import taken, work_folder
from foresift.app.workspace import Workspace
from foresift.core.errors import MissingExtraError
from foresift.core.generations import Generation
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation, read_generation

try:
    from foresift.models import save_generation
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("training", "vision") from error

if TYPE_CHECKING:
    from torch import nn


def held(workspace: Workspace, out: Path, record: Mapping[str, Any]) -> Generation | None:
    """The generation of this very record if the folder holds it already, cleaned up after and noted.

    Raises:
        ModelError: the folder holds another one.
    """
    if not is_generation(out):
        return None
    known = read_generation(out)
    if any(getattr(known, name) != value for name, value in record.items()):
        raise taken(out)
    _conclude(workspace, known, out)
    return known


def save(
    workspace: Workspace,
    out: Path,
    network: nn.Module,
    record: Mapping[str, Any],
    metrics: Mapping[str, Any],
    *,
    files: Mapping[str, Path] | None = None,
    parts: Mapping[str, nn.Module] | None = None,
) -> Generation:
    """The generation of a network that is trained, kept in its folder and noted in the workspace.

    Args:
        record: what was known before the training.
        files, parts: as for :func:`foresift.models.save_generation`.
    """
    with disk_errors(out):
        generation = save_generation(out, network, **record, metrics=metrics, files=files, parts=parts)
    _conclude(workspace, generation, out)
    return generation


def _conclude(workspace: Workspace, generation: Generation, out: Path) -> None:
    """What is left to do once a generation is whole; a killed call's repetition does it."""
    workspace.note_generation(generation, out)
    work = work_folder(out)
    with disk_errors(work):
        if work.is_dir():
            shutil.rmtree(work)
