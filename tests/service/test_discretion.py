"""What clients read names no place on the disk of the server but under its roots; the log names all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from foresift.client import ServerError
from foresift.client.transports import Grpc, Http
from foresift.core.errors import ModelError
from foresift.core.rounds import Run
from foresift.service.discretion import Discretion
from foresift.service.server import Server
from foresift.stores.files import write_json
from foresift.wire.calls import BY_NAME
from foresift.wire.messages import ReceiptView

pytestmark = pytest.mark.timeout(120)
DISCRETION = Discretion(roots=[Path("/pool"), Path("/my images")], own=[Path("/srv/my models")])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/srv/a/weights.pt: not a file", ".../weights.pt: not a file"),
        ("it lies in '/etc/x.yml' (/home/jo/b), or not", "it lies in '.../x.yml' (.../b), or not"),
        ("path:/srv/x;/srv/y.", "path:.../y."),
        ("file:///etc/passwd", ".../passwd"),
        ("/srv/my models/one/two.pt is torn", ".../two.pt is torn"),
        ("/pool/a, b.png and file:///pool/b.png", "/pool/a, b.png and file:///pool/b.png"),
        ("/my images/one two.png: no image; /my/images", "/my images/one two.png: no image; .../images"),
        ("/pools/a and /pool.old/b, /pool,/srv/x", ".../a and .../b, /pool,.../x"),
        ("in /pool.", "in /pool."),
        (
            "and/or, https://h.org/a/b, s3://b/k, upload://0a, ../c, ./d, 1/2 / 3",
            "and/or, https://h.org/a/b, s3://b/k, upload://0a, ../c, ./d, 1/2 / 3",
        ),
        ("file://localhost/srv/a, file:/srv/b and //srv/c", ".../a, .../b and .../c"),
        ("file://localhost/pool/a.png", "file://localhost/pool/a.png"),
        ("FILE:///srv/a", ".../a"),
        ("sqlite:////srv/home/f.db is locked", ".../f.db is locked"),
        ("/pool/../etc/passwd and file:///pool/%2e%2e/etc/shadow", ".../passwd and .../shadow"),
        ("/pool/a,b/../../etc/passwd, /pool/..a/b...", ".../passwd, /pool/..a/b..."),
        ("'/srv/my dir/one two.pt' and \"/srv/jo's dir/x y\"", "'.../one two.pt' and \".../x y\""),
        ("'file:///srv/my dir/x', '/pool/my dir/../../etc/a b'", "'.../x', '.../a b'"),
        ("'/pool/a b.png' lies beside '/pool'", "'/pool/a b.png' lies beside '/pool'"),
        ("'/srv/jo\\'s dir/x' isn't '/srv/y z", "'.../x' isn't '.../y z"),
    ],
)
def test_absolute_paths_are_hidden_except_under_the_roots(said: str, told: str) -> None:
    assert DISCRETION.text(said) == told
    assert DISCRETION.text(told) == told


def test_where_every_path_may_be_addressed_none_is_hidden() -> None:
    assert Discretion(roots=[Path("/")], own=[Path("/srv")]).text("/srv/a: /b/../c") == "/srv/a: /b/../c"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["\\", "'/", "/pool,", "a:///", "a+", "/"])
def test_no_text_takes_long(part: str) -> None:
    assert len(DISCRETION.text(f"'/{part * 2000}")) <= 2 + 2000 * len(part) + 3 * 2000


def test_a_server_in_the_topmost_folder_hides_no_addresses() -> None:
    discretion = Discretion(roots=[Path("/pool")], own=[Path("/srv/home"), Path("/")])
    said = "s3://b/k/x.png, https://h.org/a/b, upload://0ab, /pool/a.png"
    assert discretion.text(said) == said
    assert discretion.text("/etc/x.yml") == ".../x.yml"


def test_of_a_receipt_every_text_is_looked_at_but_ids_addresses_and_classes() -> None:
    held = {
        "id": "/ids/stay",
        "pool": {"file": "/srv/a/p.parquet", "uris": ["/data/a.png"], "columns": "0a"},
        "details": {"pairs": [["/srv/a", 1], [2, ["/srv/b"]]], "/srv/c": {"anything": "see '/srv/d e'"}},
        "model": {"classes": ["/m/01", "b"], "folder": "/pool/m"},
    }
    told = {
        "id": "/ids/stay",
        "pool": {"file": ".../p.parquet", "uris": ["/data/a.png"], "columns": "0a"},
        "details": {"pairs": [[".../a", 1], [2, [".../b"]]], ".../c": {"anything": "see '.../d e'"}},
        "model": {"classes": ["/m/01", "b"], "folder": "/pool/m"},
    }
    assert DISCRETION.view(ReceiptView(id="/0a", receipt=held)) == {"id": "/0a", "receipt": told}


@pytest.fixture(scope="module")
def server(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("a server") / "server.yml"
    file.write_text(
        "model: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        "server: {protocol: grpc, port: 0, http_port: 0}\n"
        f"data: {{roots: ['{images}']}}\nstorage: {{home: home}}\n"
    )
    with Server(config_path=file) as started:
        yield started


@pytest.fixture(params=["http", "grpc"])
def way(server: Server, request: pytest.FixtureRequest) -> Iterator[Http | Grpc]:
    kind, urls = (Http, server.http_urls) if request.param == "http" else (Grpc, server.grpc_urls)
    made = kind(urls[0], token=None, timeout_s=60)
    yield made
    made.close()


def ask(way: Http | Grpc, name: str, places: dict[str, str], **asked: Any) -> Any:
    return way.ask(BY_NAME[name], places, asked)


def ended(way: Http | Grpc, job: str) -> Any:
    """A job once it is over."""
    while (view := ask(way, "Job", {"job": job}, wait_s=30))["state"] in ("queued", "running"):
        pass
    return view


def no_model(server: Server, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Let everything fail that needs a model."""

    def folder_of(_: object) -> Path:
        raise ModelError(reason)

    monkeypatch.setattr(server._application.model, "folder_of", folder_of)


def test_the_reason_of_a_failed_job_tells_no_path_of_the_server(
    server: Server,
    way: Http | Grpc,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = f"{server.base}/home/models/a.safetensors: torn; {images}/a.png was fine"
    shown = f".../a.safetensors: torn; {images}/a.png was fine"
    no_model(server, monkeypatch, whole)
    job = ask(way, "Push", {"pool": "p"}, uris=[str(next(images.rglob("*.png")))])["id"]
    assert ended(way, job)["reason"] == shown
    assert ask(way, "Cancel", {"job": job})["reason"] == shown
    assert [one["reason"] for one in ask(way, "Jobs", {}, limit=1000)["items"] if one["id"] == job] == [shown]
    assert [view["reason"] for view in way.watch(BY_NAME["Watch"], {"job": job})] == [shown]
    assert server._application.records.job(job).reason == whole
    lines = [json.loads(one.message) for one in caplog.records if one.name == "foresift.service"]
    assert [(one["job"], one["reason"]) for one in lines if one["event"] == "job-failed"] == [(job, whole)]


def test_refusals_tell_no_path_of_the_server(
    server: Server, way: Http | Grpc, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model(server, monkeypatch, f"{server.base}/home/gone holds no generation")
    with pytest.raises(ServerError) as refused:
        ask(way, "Predictions", {"pool": "p"})
    assert str(refused.value).endswith(".../gone holds no generation")
    assert str(server.base) not in str(refused.value)
    with pytest.raises(ServerError, match="'/etc/passwd' lies outside"):
        ask(way, "Push", {"pool": "p"}, uris=["/etc/passwd"])


def test_the_door_tells_no_path_of_the_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = f"{server.base}/weights.pt is no generation"
    monkeypatch.setattr(server._application.model, "trouble", lambda: trouble)
    assert httpx.get(f"{server.http_urls[0]}/ready").json()["detail"] == ".../weights.pt is no generation"


def test_receipts_and_runs_tell_no_path_of_the_server(server: Server, way: Http | Grpc, images: Path) -> None:
    application, home = server._application, server.base / "home"
    held = {"pool": {"name": f"{home}/pools/q.jsonl"}, "model": {"folder": f"{images}/m", "classes": ["/m/01", "b"]}}
    write_json(application.workspace.receipts / "0a1b2c3d.json", held)
    receipt = ask(way, "Selection", {"selection": "0a1b2c3d"})["receipt"]
    assert receipt == {"pool": {"name": ".../q.jsonl"}, "model": held["model"]}
    name = type(way).__name__
    application.records.add_run(Run(id=name, reason=f"drop files into {home}/inbox/{name}", pool="q"))
    assert ask(way, "Run", {"run": name})["reason"] == f"drop files into .../{name}"
