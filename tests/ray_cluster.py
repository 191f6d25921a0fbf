"""A real Ray cluster of this machine alone, small and quiet, and stopped in any case."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from foresift.executors.ray import forks_that_become_programs


@contextmanager
def cluster(*, cpus: int = 2) -> Iterator[Any]:
    """Two processors, 100 MB for what is under way; gives the module ``ray``. Skipped without it, but never in CI."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # listen on the loopback interface alone
    try:
        import ray
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("no Ray; install foresift[ray]")
    _start(ray, cpus)
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, cpus: int, *, tries: int = 3) -> None:
    """Ray itself gives a start half a minute, which a busy machine may not have."""
    for left in reversed(range(tries)):
        try:
            with forks_that_become_programs():
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    object_store_memory=100 * 2**20,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address="127.0.0.1",
                )
        except Exception:  # it says in several ways that it took too long
            if not left:
                raise
            ray.shutdown()
        else:
            return
