"""Who shares the work of a pass: nobody, processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from foresift.app.passes.workers import MODULE, command
from foresift.executors import Crew, LocalCrew


def crew_on(address: str | None, *, tasks: str = MODULE) -> AbstractContextManager[Crew | None]:
    """The crew at the address of a Ray cluster; no crew without one. Leaving it ends its workers.

    Args:
        address: ``local``, ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.
        tasks: the module whose ``TASKS`` the workers do.
    Raises:
        MissingExtraError: Ray is not installed.
        UnreachableError: no cluster answers.
    """
    if address is None:
        return nullcontext()
    from foresift.executors.ray import RayCrew

    return RayCrew(address, tasks=tasks)


def crew_of(
    replicas: int, address: str | None = None, *, environment: Mapping[str, str] | None = None
) -> AbstractContextManager[Crew | None]:
    """The crew of a server: on a cluster, else so many processes; this process alone for one replica.

    Args:
        environment: variables that a worker has beside its own, such as whom it may ask.
    Raises:
        ForesiftError: as :func:`crew_on`.
    """
    if address is not None:
        from foresift.executors.ray import RayCrew

        return RayCrew(address, tasks=MODULE, environment=environment)
    return LocalCrew(command(), replicas, environment=environment) if replicas > 1 else nullcontext()
