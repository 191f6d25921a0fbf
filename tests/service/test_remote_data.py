"""A real server that reads from a real HTTP server, and is led astray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foresift.client import Client, ServerError
from foresift.service.server import Server
from foresift.sources import remote
from foresift.sources.remote import Limits, Remote
from images import png
from web_server import WebServer

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def web() -> Iterator[WebServer]:
    rng = np.random.default_rng(0)
    files = {f"{n:02d}.png": png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for n in range(12)}
    server = WebServer(files)
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("TIMEOUT_S", "1"), ("TRIES", "2")):  # for the process beside the server
        monkeypatch.setenv(f"FORESIFT_DOWNLOAD_{name}", value)
    made = Remote(limits=Limits(pause_s=0.01, timeout_s=1, tries=2))
    monkeypatch.setattr(remote, "_made", [made])
    yield
    made.close()


def server_for(web: WebServer, folder: Path, *, hosts: str, private: bool) -> Server:
    file = folder / "server.yml"
    file.write_text(
        "name: pictures\nstrategy: margin\nserver: {port: 0, http_port: 0}\nstorage: {home: home}\n"
        "model: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        f"data: {{hosts: [{hosts}], allow_private: {str(private).lower()}}}\n"
    )
    return Server(config_path=file)


def test_signed_links_lead_to_a_selection_and_their_signatures_stay_out_of_what_is_kept(
    web: WebServer, tmp_path: Path
) -> None:
    links = [f"{url}?X-Amz-Signature=S3CR3T" for url in web.urls]
    with server_for(web, tmp_path, hosts="127.0.0.1", private=True) as server, Client(server.http_urls[0]) as client:
        answer = client.push_data(links, asynchronous=False)
        assert (answer["new"], answer["usable"]) == (12, 12)
        assert set(client.query(budget=4)) <= set(links)
        anew = [link.replace("S3CR3T", "OTHER") for link in links]
        assert client.push_data(anew, asynchronous=False)["new"] == 0
        assert set(client.query(budget=4)) <= set(anew)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"S3CR3T" in path.read_bytes()]
    assert not kept, "the links that were signed anew took the place of the first"
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"OTHER" in path.read_bytes()]
    assert [path.parent.name for path in kept] == ["pools"], "the server has to ask again after a restart"


def test_hosts_that_are_not_named_are_refused_at_once(web: WebServer, tmp_path: Path) -> None:
    with server_for(web, tmp_path, hosts="a.org", private=True) as server, Client(server.http_urls[0]) as client:
        for address in (web.urls[0], web.urls[0].replace("http://", "http://a.org@"), "s3://bucket/a.png"):
            with pytest.raises(ServerError, match=r"data\.hosts"):
                client.push_data([address], asynchronous=False)
    assert not web.asked


def test_a_name_that_leads_inside_is_not_asked(web: WebServer, tmp_path: Path) -> None:
    address = web.urls[0].replace("127.0.0.1", "localhost")
    with server_for(web, tmp_path, hosts="localhost", private=False) as server, Client(server.http_urls[0]) as client:
        with pytest.raises(ServerError, match="private network"):
            client.push_data([address], asynchronous=False)
        assert not web.asked
    assert not web.asked


def test_a_redirect_to_another_host_is_not_followed(web: WebServer, tmp_path: Path) -> None:
    web.faults["05.png"] = ["always", "redirect=http://169.254.169.254/latest/meta-data"]
    web.faults["06.png"] = ["always", f"redirect={web.url.replace('127.0.0.1', 'localhost')}/07.png"]
    with server_for(web, tmp_path, hosts="127.0.0.1", private=True) as server, Client(server.http_urls[0]) as client:
        answer = client.push_data(web.urls, asynchronous=False)
    reasons = {row["uri"][-6:]: row["reason"] for row in answer["quarantined"]}
    assert answer["usable"] == 10
    assert "169.254.169.254:80, no host that may be asked" in reasons["05.png"]
    assert "localhost" in reasons["06.png"]
