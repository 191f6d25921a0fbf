"""Workers that are actors of a Ray cluster, on this machine or on many.

Nothing of a cluster's machines is needed but the same Foresift and the addresses of the images: weights travel with
the work, and rows travel back.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foresift.core.about import foresift_version
from foresift.core.errors import ForesiftError, MissingExtraError, ModelError, UnreachableError, UsageError
from foresift.core.protocols import Silent
from foresift.executors.child import LOOK_EVERY_S, ChildDiedError, StoppedError, raised
from foresift.executors.crew import Crew, Worker
from foresift.executors.serving import done

LOCAL = "local"
"""A cluster of this machine alone, which ends with the crew."""
_TELEMETRY = "RAY_USAGE_STATS_ENABLED"
_MANY_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where this is 0 a new cluster listens on the loopback interface alone, on Linux too."""
_LOOPBACK = "127.0.0.1"
KNOCK_S = 5.0
"""For a connection to the address of a cluster."""
_HELD_BYTES = 256 << 20
"""Of weights and rows under way on a cluster of this machine; what does not fit waits on the disk."""


class RayCrew(Crew):
    """An actor for each processor of a cluster, or for each GPU where there are some; grows with the cluster.

    Args:
        address: ``local``, ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.
        tasks: a module with ``TASKS``.
        workers: at most so many; None = as the cluster has room for.
        environment: variables of the workers beside those of their machines.
    Raises:
        UnreachableError: there is no cluster at the address.
        MissingExtraError: Ray is not installed.
    """

    def __init__(
        self, address: str, *, tasks: str, workers: int | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._tasks, self._workers = tasks, workers
        self._environment = {_TELEMETRY: "0", **(environment or {})}
        self._ray = _imported(address)
        self._joined = _join(self._ray, address)

    def room(self) -> int:
        """Processors, or GPUs, of the machines that are alive."""
        there = self._ray.cluster_resources()
        count = int(there.get("GPU", 0) or there.get("CPU", 1))
        return max(1, count if self._workers is None else min(count, self._workers))

    def hire(self) -> Worker:
        """An actor that the cluster places as soon as it can."""
        on_gpu = bool(self._ray.cluster_resources().get("GPU", 0))
        placed = self._ray.remote(_Actor).options(
            num_cpus=1,
            num_gpus=1 if on_gpu else 0,
            max_restarts=0,  # a lost item is ours to give to another
            max_task_retries=0,
        )
        return _RayWorker(self._ray, placed.remote(self._tasks, self._environment))

    def lend(self, folder: Path, names: Sequence[str]) -> Any:
        """The files themselves, held by the cluster once, however many workers read them."""
        return self._ray.put({name: (folder / name).read_bytes() for name in names})

    def close(self) -> None:
        """End the actors, and the cluster if it is ours."""
        super().close()
        if self._joined:
            self._joined = False
            self._ray.shutdown()


class _Actor:
    """What runs on the cluster."""

    def __init__(self, tasks: str, environment: Mapping[str, str]) -> None:
        os.environ.update(environment)
        self._tasks = importlib.import_module(tasks).TASKS

    def hello(self) -> tuple[str, str]:
        """Which Foresift this is, and where."""
        return foresift_version(), socket.gethostname()

    def call(self, task: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """The answer, or the error, of a task."""
        import ray

        here = {name: ray.get(value) if isinstance(value, ray.ObjectRef) else value for name, value in values.items()}
        return done(self._tasks[task], here, Silent())


class _RayWorker:
    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self._hello = actor.hello.remote()

    def ready(self, timeout_s: float) -> bool:
        if not self._ray.wait([self._hello], timeout=timeout_s)[0]:
            return False
        theirs, host = self._got(self._hello, "starting")
        if theirs != foresift_version():
            raise ModelError(f"{host} of the cluster has Foresift {theirs}, expected {foresift_version()} as here")
        return True

    def call(self, task: str, values: Mapping[str, Any], *, should_stop: Callable[[], bool]) -> dict[str, Any]:
        asked = self._actor.call.remote(task, dict(values))
        while not self._ray.wait([asked], timeout=LOOK_EVERY_S)[0]:
            if should_stop():
                raise StoppedError(f"{task} was stopped")
        reply: dict[str, Any] = self._got(asked, task)
        if "error" in reply:
            raise raised(reply["kind"], reply["error"])
        answer: dict[str, Any] = reply["answer"]
        return answer

    def alive(self) -> bool:
        asked = self._actor.hello.remote()
        if not self._ray.wait([asked], timeout=LOOK_EVERY_S)[0]:
            return True  # slow, as far as anybody knows
        try:
            self._ray.get(asked)
        except self._ray.exceptions.RayError:
            return False
        return True

    def kill(self) -> None:
        self._ray.kill(self._actor)

    def _got(self, asked: Any, task: str) -> Any:
        try:
            return self._ray.get(asked)
        except self._ray.exceptions.RayTaskError as error:
            raise ForesiftError(f"{task} failed on the cluster: {_first_line(error.cause or error)}") from error
        except self._ray.exceptions.RayError as error:  # the process, its machine or its memory is gone
            raise ChildDiedError(f"a worker of the cluster was lost in {task}: {_first_line(error)}") from None


def _imported(address: str) -> Any:
    """The library, told beforehand to talk to nobody, and where a new cluster listens."""
    os.environ[_TELEMETRY] = "0"
    if address == LOCAL:
        os.environ.setdefault(_MANY_MACHINES, "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--ray", "ray") from error
    return ray


def _join(ray: Any, address: str) -> bool:
    """Connect; whether it is ours to disconnect.

    Raises:
        UnreachableError: nobody answers.
        UsageError: no address of a cluster.
    """
    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        quiet |= {"include_dashboard": False, "_node_ip_address": _LOOPBACK, "object_store_memory": _HELD_BYTES}
    knock(address)
    try:
        with forks_that_become_programs():
            ray.init(address=address, **quiet)
    except ValueError as error:
        raise UsageError(f"--ray {address}: expected local, auto, HOST:PORT or ray://HOST:PORT ({error})") from None
    except Exception as error:  # noqa: BLE001 - it raises bare ones too, such as for a start that takes too long
        raise UnreachableError(f"no Ray cluster answers at {address}: {_first_line(error)}") from None
    return True


@contextmanager
def forks_that_become_programs() -> Iterator[None]:
    """Lance warns of forks; those of Ray's start touch nothing before they become other programs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lance is not fork-safe", category=UserWarning)
        yield


def knock(address: str) -> None:
    """Look whether anybody listens at ``HOST:PORT``: Ray itself would ask for minutes.

    Raises:
        UnreachableError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # local, auto, or no address at all
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise UnreachableError(f"no Ray cluster answers at {address}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
