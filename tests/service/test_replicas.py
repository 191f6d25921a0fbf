"""A server whose work two processes share: the answers of one, whatever happens to either of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foresift.client import Client, ServerError
from foresift.service.server import Server
from images import png
from replicas import worker_pids
from web_server import WebServer

pytestmark = pytest.mark.timeout(240)


def server_for(folder: Path, *, replicas: int, data: str) -> Server:
    folder.mkdir()
    file = folder / "server.yml"
    file.write_text(
        "strategy: margin\nstorage: {home: home}\n"
        f"server: {{port: 0, http_port: 0, replicas: {replicas}}}\n"
        "model: {name: resnet8, weights: random, image_size: 16, engine: torch-f32, batch_size: 4}\n"
        f"data: {data}\n"
    )
    return Server(config_path=file)


def appends(folder: Path) -> int:
    """How often rows were stored: a replica's piece is an append, a process by itself stores all of these at once."""
    return len(list((folder / "home" / "cache" / "predictions").glob("*.lance/_versions/*.manifest")))


def scored(server: Server, uris: list[str]) -> list[tuple[str, float]]:
    with Client(server.http_urls[0]) as client:
        client.push_data(uris, asynchronous=False)
        return [(row.id, row.score) for row in client.select(budget=12).rows]


def test_two_replicas_each_score_some_and_the_answer_is_that_of_one(images: Path, tmp_path: Path) -> None:
    uris, data = sorted(map(str, images.rglob("*.png"))), f"{{roots: ['{images}']}}"
    with server_for(tmp_path / "one", replicas=1, data=data) as server:
        alone = scored(server, uris)
        assert not worker_pids()
    assert appends(tmp_path / "one") == 1
    with server_for(tmp_path / "two", replicas=2, data=data) as server:
        assert scored(server, uris) == alone
        assert len(worker_pids()) == 2
    assert appends(tmp_path / "two") == 6  # of 40 images: 12, 8, 8, 4, 4, 4
    assert not worker_pids()


@pytest.fixture
def web() -> Iterator[WebServer]:
    rng = np.random.default_rng(0)
    files = {f"{n:02d}.png": png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for n in range(60)}
    server = WebServer(files, delay_s=0.05)
    server.start()
    yield server
    server.stop()


def test_a_replica_killed_in_the_middle_of_a_push_loses_nothing(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESIFT_DOWNLOADS_PER_HOST", "2")
    data, over, killed = "{hosts: ['127.0.0.1'], allow_private: true}", threading.Event(), []

    def kill_one() -> None:
        while not over.wait(0.02):
            if len(web.asked) > 20 and (running := worker_pids()):
                killed.append(running[0])
                os.kill(running[0], signal.SIGKILL)
                return

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        with server_for(tmp_path / "two", replicas=2, data=data) as server, Client(server.http_urls[0]) as client:
            answer = client.push_data(web.urls, asynchronous=False)
            assert (answer["usable"], answer["quarantined"]) == (60, [])
            assert len(client.query(budget=60)) == 60
    finally:
        over.set()
        thread.join()
    assert killed
    assert appends(tmp_path / "two") >= 2


def test_replicas_are_behind_the_fence_of_their_server(web: WebServer, tmp_path: Path) -> None:
    outside = web.url.replace("127.0.0.1", "localhost")
    web.faults["50.png"] = ["always", f"redirect={outside}/51.png"]
    data = "{hosts: ['127.0.0.1'], allow_private: true}"
    with server_for(tmp_path / "two", replicas=2, data=data) as server, Client(server.http_urls[0]) as client:
        answer = client.push_data(web.urls, asynchronous=False)
        (refused,) = answer["quarantined"]
        assert refused["uri"].endswith("50.png")
        assert "data.hosts" in refused["reason"]
        with pytest.raises(ServerError, match=r"data\.hosts"):
            client.push_data([f"{outside}/1.png"], asynchronous=False)
