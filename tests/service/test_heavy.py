"""The process beside a server: what it does holds nobody up, and what becomes of it loses nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from foresift.client import Client, Job, ServerError
from foresift.service.heavy import MODULE
from foresift.service.jobs import NICENESS
from foresift.service.server import Server
from replicas import worker_pids

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("server") / "server.yml"
    file.write_text(
        "strategy: margin\nmodel: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        f"server: {{port: 0, http_port: 0}}\ndata: {{roots: ['{images}']}}\nstorage: {{home: home}}\n"
    )
    with Server(config_path=file) as started:
        yield started
    assert not worker_pids(MODULE), "it ends with its server"


@pytest.fixture
def client(server: Server, request: pytest.FixtureRequest, images: Path) -> Iterator[Client]:
    with Client(server.http_urls[0], pool=request.node.name[:90]) as connected:
        connected.push_data(all_of(images)[:20], asynchronous=False)
        yield connected


def all_of(images: Path) -> list[str]:
    return sorted(map(str, images.rglob("*.png")))


def beside(server: Server) -> psutil.Process:
    """The process that does the heavy work."""
    return psutil.Process(server._application.heavy._child.pid)


def wait_until(true: Callable[[], bool], *, within_s: float = 60) -> None:
    until = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def running(client: Client, uris: list[str]) -> Job:
    """A push that has been begun."""
    job = client.push_data(uris, asynchronous=True)
    assert isinstance(job, Job)
    wait_until(lambda: job.status().state == "running")
    return job


def test_requests_are_answered_while_it_stands_still(server: Server, client: Client, images: Path) -> None:
    known = client.select(budget=4)
    beside(server).suspend()
    try:
        began = time.monotonic()
        assert client.select(budget=4) == known
        job = running(client, all_of(images)[20:25])
        assert {one.state for one in client.predictions()} == {"ready", "waiting"}
        assert time.monotonic() - began < 20
    finally:
        beside(server).resume()
    assert job.wait()["usable"] == 25


def test_it_steps_back_for_whoever_answers(server: Server, client: Client) -> None:
    assert beside(server).nice() == min(19, psutil.Process().nice() + NICENESS)


def test_what_it_did_when_it_was_killed_is_done_by_another(server: Server, client: Client, images: Path) -> None:
    first = beside(server)
    first.suspend()
    job = running(client, all_of(images)[20:25])
    first.kill()
    assert job.wait()["usable"] == 25
    assert beside(server).pid != first.pid


def test_work_that_kills_it_again_fails_with_the_reason_and_nothing_else_does(
    server: Server, client: Client, images: Path
) -> None:
    killed = [beside(server)]
    killed[0].suspend()
    job = running(client, all_of(images)[20:25])
    killed[0].kill()
    wait_until(lambda: server._application.heavy._child.pid not in (None, killed[0].pid))
    os.kill(server._application.heavy._child.pid, signal.SIGKILL)
    with pytest.raises(ServerError, match="was killed by SIGKILL"):
        job.wait()
    assert client.push_data(all_of(images)[25:26], asynchronous=False)["usable"] == 26


def test_a_job_in_the_middle_of_a_look_is_cancelled(server: Server, client: Client, images: Path) -> None:
    beside(server).suspend()
    job = running(client, all_of(images)[20:25])
    job.cancel()
    wait_until(lambda: job.status().state == "cancelled")
    assert client.push_data(all_of(images)[:1], asynchronous=False)["usable"] == 25


def test_an_error_that_nobody_foresaw_is_no_refusal(server: Server) -> None:
    with pytest.raises(RuntimeError, match="exit code 1: KeyError: 'juggle'"):
        server._application.heavy._done("juggle", {})
