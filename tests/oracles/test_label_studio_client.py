"""Requests to a labeling server that is slow, lies, or is another one: one clear line, and the token stays here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from foresift.core.errors import OracleError, UsageError
from foresift.oracles.label_studio_client import Client, shifted

SECRET = "feedfacefeedfacefeedfacefeedfacefeedface"


class Server(ThreadingHTTPServer):
    """Answers with what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.code, self.body, self.headers = 200, b"{}", dict[str, str]()
        self.asked: list[tuple[str, str]] = []
        self.let_go = threading.Event()
        self.let_go.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        self.server.let_go.wait(10)
        self.send_response(self.server.code)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.let_go.set()
        running.shutdown()
        thread.join()


def client(server: Server, timeout_s: float = 5.0) -> Client:
    return Client(server.url, SECRET, timeout_s=timeout_s)


def complaint(server: Server, timeout_s: float = 5.0) -> str:
    with pytest.raises(OracleError) as error:
        client(server, timeout_s).get("/api/projects/")
    assert SECRET not in str(error.value)
    return str(error.value)


def test_the_token_goes_along_and_the_servers_clock_is_seen(server: Server) -> None:
    asking = client(server)
    assert asking.get("/api/projects/", page=1) == {}
    assert server.asked == [("/api/projects/?page=1", f"Token {SECRET}")]
    assert asking.now.endswith("Z")


def test_a_redirect_is_not_followed_because_the_token_would_be(server: Server) -> None:
    server.code, server.headers = 302, {"Location": f"{server.url}/elsewhere"}
    assert "sends elsewhere (302)" in complaint(server)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("code", "body", "told"),
    [
        (401, b"{}", "refuses the token (401)"),
        (403, b"{}", "refuses the token (403)"),
        (500, b"database is\nlocked", "answers 500 to GET /api/projects/: database is locked"),
        (200, b"<html>", "answers with no JSON; is it a Label Studio server?"),
        (200, b"\xff", "answers with no JSON"),
    ],
)
def test_what_goes_wrong_is_one_line(server: Server, code: int, body: bytes, told: str) -> None:
    server.code, server.body = code, body
    line = complaint(server)
    assert told in line
    assert "\n" not in line


def test_a_slow_server_is_given_up(server: Server) -> None:
    server.let_go.clear()
    assert "can't be reached" in complaint(server, timeout_s=0.1)


def test_nobody_there_is_told(server: Server) -> None:
    with pytest.raises(OracleError, match="can't be reached"):
        Client("http://127.0.0.1:9", SECRET).get("/api/projects/")


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://user:word@host", "file:///etc"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="expects an address"):
        Client(url, SECRET)


def test_a_list_that_shrinks_while_it_is_read_is_asked_for_again(server: Server) -> None:
    server.body = json.dumps({"tasks": [], "total": 3}).encode()
    with pytest.raises(OracleError, match="changed while it was read"):
        list(client(server).pages("/api/tasks/", "tasks"))


def test_times_are_shifted_across_days() -> None:
    assert shifted("2026-03-01T00:02:00Z", -300) == "2026-02-28T23:57:00.000000Z"
    assert shifted("2026-03-01T00:02:00.123456Z", 1) == "2026-03-01T00:02:01.123456Z"
