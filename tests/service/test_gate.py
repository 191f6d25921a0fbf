"""What every request goes through: limits while the body comes, names and origins, tokens, rates, the diary."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from foresift.client import Client, Job, ServerError
from foresift.service import gate
from foresift.service.server import Server
from foresift.service.tokens import TokenFile

pytestmark = pytest.mark.timeout(120)
MODEL = "model: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}"
Start = Callable[..., Server]


@pytest.fixture
def start(images: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers with these lines besides; all are stopped at the end."""
    running = []

    def starting(*lines: str, server: str = "protocol: grpc, port: 0, http_port: 0") -> Server:
        file = tmp_path / "server.yml"
        common = [f"server: {{{server}}}", MODEL, f"data: {{roots: ['{images}']}}", "storage: {home: home}"]
        file.write_text("\n".join([*common, *lines]) + "\n")
        running.append(Server(config_path=file).start())
        return running[-1]

    yield starting
    for server in running:
        server.stop()


def sent(server: Server, head: str, body: bytes = b"", *, most_s: float = 20) -> bytes:
    """What a server answers to bytes."""
    address = urlsplit(server.http_urls[0])
    with socket.create_connection((str(address.hostname), address.port), timeout=most_s) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n")
        with contextlib.suppress(OSError):  # it may refuse before all has come
            line.sendall(body)
        return line.recv(65536)


def test_a_body_that_is_too_long_is_refused_by_its_length_alone(start: Start) -> None:
    server = start("limits: {body_mib: 1}")
    head = (
        "POST /v1/pools/p/samples HTTP/1.1\nHost: localhost\nContent-Length: 99999999\nContent-Type: application/json\n"
    )
    assert b" 413 " in sent(server, head).splitlines()[0]


@pytest.mark.parametrize("path", ["/v1/pools/p/samples", "/v1/uploads"])
def test_a_body_in_chunks_is_refused_once_it_is_too_long(start: Start, path: str) -> None:
    server = start("limits: {body_mib: 1}")
    chunk = b"10000\r\n" + b"[" * 0x10000 + b"\r\n"
    head = f"POST {path} HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\nContent-Type: application/json\n"
    assert b" 413 " in sent(server, head, chunk * 40).splitlines()[0]


def test_a_body_that_stands_still_is_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "IDLE_S", 0.3)
    server = start()
    head = "POST /v1/pools/p/samples HTTP/1.1\nHost: localhost\nContent-Length: 100\nContent-Type: application/json\n"
    assert b" 408 " in sent(server, head, b"{").splitlines()[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "["}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({}, 200),
    ],
)
def test_pages_of_others_can_not_use_a_server_without_tokens(
    start: Start, headers: dict[str, str], status: int
) -> None:
    assert httpx.get(f"{start().http_urls[0]}/v1/pools", headers=headers).status_code == status


def test_scopes_rates_and_the_audit_log(start: Start, tmp_path: Path, images: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    reader, labeler = (file.create(name, [name])[1] for name in ("read", "label"))
    slow = file.create("slow", ["read"], requests_a_minute=1)[1]
    server = start("auth: {tokens: tokens.json}")
    for url in server.urls:
        with Client(url, token=reader) as client:
            assert client.status().samples == 0
            with pytest.raises(ServerError, match="lacks the scope run") as refused:
                client.push_data([str(next(images.rglob("*.png")))])
            assert refused.value.status == 403
        with Client(url, token=labeler) as client, pytest.raises(ServerError, match="never pushed"):
            client.label({str(next(images.rglob("*.png"))): "dark"})
        with Client(url, token="fst_guess_guess") as client, pytest.raises(ServerError) as unknown:
            client.status()
        assert unknown.value.status == 401
    with Client(server.http_urls[0], token=slow) as client:
        client.status()
        with pytest.raises(ServerError, match="requests a minute") as often:
            client.status()
        assert often.value.status == 429
    file.revoke("read")
    with Client(server.grpc_urls[0], token=reader) as client, pytest.raises(ServerError, match="asks for a token"):
        client.status()
    (audit,) = (tmp_path / "home" / "service").rglob("audit.jsonl")
    rows = [json.loads(line) for line in audit.read_text().splitlines()]
    assert {row["status"] for row in rows} >= {401, 403, 429}
    assert {row["protocol"] for row in rows} == {"http", "grpc"}
    assert all(row["request"] and row["at"] for row in rows)
    for secret in (reader, labeler, slow):
        assert secret.rpartition("_")[2] not in audit.read_text()


def test_health_is_open_and_metrics_are_not(start: Start) -> None:
    server = start("auth: {token: '0123'}")
    url = server.http_urls[0]
    assert httpx.get(f"{url}/health").status_code == 200
    while (ready := httpx.get(f"{url}/ready", timeout=60)).status_code != 200:
        assert ready.json()["detail"] == "the model is being prepared"
    assert httpx.get(f"{url}/metrics").status_code == 401
    told = httpx.get(f"{url}/metrics", headers={"authorization": "Bearer 0123"}).text
    assert "foresift_queue_depth 0.0" in told
    assert 'foresift_requests_total{call="other",protocol="http",status="401"} 1.0' in told


def test_metrics_count_what_was_done(start: Start, images: Path) -> None:
    server = start("strategy: margin")
    some = sorted(map(str, images.rglob("*.png")))[:5]
    with Client(server.http_urls[0]) as client:
        client.push_data(some)
        client.push_data(some)
        for _ in range(3):
            client.query(budget=2)
    told = httpx.get(f"{server.http_urls[0]}/metrics").text
    for line in (
        'foresift_images_total{outcome="inferred"} 5.0',
        'foresift_images_total{outcome="stored"} 5.0',
        'foresift_selections_total{cache="hit"} 2.0',
        'foresift_selections_total{cache="miss"} 1.0',
        'foresift_jobs{state="done"} 2.0',
        'foresift_stage_seconds_total{stage="inferring"}',
        "foresift_images_per_second",
    ):
        assert line in told, line


def test_requests_have_ids_and_answers_tags(start: Start, images: Path) -> None:
    server = start()
    url = f"{server.http_urls[0]}/v1/pools/default"
    first = httpx.get(url, headers={"x-request-id": "mine-7"})
    assert first.headers["x-request-id"] == "mine-7"
    assert httpx.get(url, headers={"x-request-id": "no\tplain id"}).headers["x-request-id"] != "no\tplain id"
    same = httpx.get(url, headers={"if-none-match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    with Client(server.http_urls[0]) as client:
        client.push_data([str(next(images.rglob("*.png")))])
    assert httpx.get(url, headers={"if-none-match": first.headers["etag"]}).status_code == 200


def test_a_key_gives_the_same_job_through_both(start: Start, images: Path) -> None:
    server = start()
    some = sorted(map(str, images.rglob("*.png")))[:3]
    jobs = []
    for url in (*server.urls, *server.urls):
        with Client(url) as client:
            job = client.push_data(some, asynchronous=True, key="once")
            assert isinstance(job, Job)
            jobs.append(job.id)
            with pytest.raises(ServerError, match="another request"):
                client.push_data(some[:1], key="once")
    assert len(set(jobs)) == 1


def test_tls_serves_both(start: Start, tmp_path: Path) -> None:
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    try:
        subprocess.run(["openssl", "req", "-x509", *kind, *files, *names], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl")
    server = start(server="protocol: grpc, port: 0, http_port: 0, tls_certificate: cert.pem, tls_key: key.pem")
    assert [url.partition(":")[0] for url in server.urls] == ["grpcs", "https"]
    for url in server.urls:
        with Client(url, certificate=tmp_path / "cert.pem") as client:
            assert client.status().samples == 0
        with Client(url, timeout_s=10) as stranger, pytest.raises(ServerError):
            stranger.status()


def test_a_server_that_is_about_to_end_takes_no_new_work_and_lets_nobody_wait(start: Start, images: Path) -> None:
    server = start()
    some = [str(next(images.rglob("*.png")))]
    with Client(server.http_urls[0]) as http, Client(server.grpc_urls[0]) as other:
        job = http.push_data(some, asynchronous=True)
        assert isinstance(job, Job)
        server._application.drain()
        began = time.monotonic()
        for client in (http, other):
            assert client._job(job.id, wait_s=30).id == job.id
            with pytest.raises(ServerError, match="about to end") as refused:
                client.push_data(some)
            assert refused.value.status == 503
            assert client.status().samples == 1
        assert time.monotonic() - began < 15
        with grpc.insecure_channel(server.grpc_urls[0].partition("://")[2]) as channel:
            asked = health_pb2.HealthCheckRequest()
            assert health_pb2_grpc.HealthStub(channel).Check(asked, timeout=20).status == 2
    assert httpx.get(f"{server.http_urls[0]}/ready", timeout=30).status_code == 503


def test_two_servers_never_share_a_name(start: Start) -> None:
    from foresift.core.errors import UsageError

    server = start()
    held = server._application.records
    held.release(held.acquire("service/foresift", held.holder("service/foresift"), ttl_s=60))
    held.acquire("service/foresift", "elsewhere:x:1:1", ttl_s=60)
    with pytest.raises(UsageError, match="another server named"):
        start()
