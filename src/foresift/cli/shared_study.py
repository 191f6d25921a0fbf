"""Studies on a cluster: their cells are made there, then read here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foresift.core.protocols import Progress


def on_cluster(ray: str | None, study: str, out: Path, *, progress: Progress, **asked: Any) -> None:
    """Have the missing cells of a study made on a Ray cluster; nothing without one.

    Args:
        ray: address of the cluster.
        asked: arguments of the study; paths are given as where they lie on every machine.
    """
    if ray is None:
        return
    from foresift.app.passes.crews import crew_on
    from foresift.studies.parts import share_parts
    from foresift.studies.workers import MODULE

    plain = {name: str(value.absolute()) if isinstance(value, Path) else value for name, value in asked.items()}
    with crew_on(ray, tasks=MODULE) as crew:
        assert crew is not None  # noqa: S101 - there is an address
        share_parts(crew, study, out, plain, progress=progress)
