"""Who is let through to a local page."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

import pytest

from foresift.web.guard import Guard, Rules, host_name, is_loopback, rules_for

LOCAL = rules_for("127.0.0.1", 8420)
OPEN = rules_for("0.0.0.0", 8420)
COOKIE = f"foresift-8420={OPEN.token}"


async def inner(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page"})


def ask(rules: Rules, headers: dict[str, str], *, path: str = "/", query: str = "", kind: str = "http") -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": f"{kind}.connect"}

    scope = {"type": kind, "path": path, "query_string": query.encode()}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(inner, rules)(scope, receive, send))
    return sent


def status(rules: Rules, headers: dict[str, str], **options: Any) -> int:
    return int(ask(rules, headers, **options)[0]["status"])


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost:8420", "LOCALHOST", "[::1]:8420"])
def test_this_machine_comes_in(host: str) -> None:
    assert status(LOCAL, {"host": host}) == 200
    assert status(LOCAL, {"host": host, "origin": f"http://{host}"}) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:8420", "", "[", "localhost.evil:8420"]
)
def test_other_names_do_not(host: str) -> None:
    assert status(LOCAL, {"host": host}) == 421
    assert ask(LOCAL, {"host": host}, kind="websocket")[0]["type"] == "websocket.close"


def test_without_a_host_header_nothing_is_answered() -> None:
    assert status(LOCAL, {}) == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9999", "null", "https://127.0.0.1:1"])
def test_other_sites_do_not_come_in(origin: str) -> None:
    headers = {"host": "127.0.0.1:8420", "origin": origin}
    assert status(LOCAL, headers) == 421
    assert ask(LOCAL, headers, kind="websocket")[0]["code"] == 1008


def test_no_token_is_asked_for_on_this_machine_and_one_is_beyond() -> None:
    assert not LOCAL.token
    assert len(OPEN.token) >= 32
    assert OPEN.token != rules_for("0.0.0.0", 8420).token


def test_the_token_becomes_a_cookie_and_leaves_the_address() -> None:
    host = {"host": "192.0.2.7:8420"}
    start = ask(OPEN, host, path="//evil.example/", query=f"token={OPEN.token}")[0]
    headers = dict(start["headers"])
    assert (start["status"], headers[b"location"]) == (303, b"/")
    cookie = headers[b"set-cookie"].decode()
    assert cookie.startswith(f"{COOKIE};")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert status(OPEN, {**host, "cookie": f"other=1; {COOKIE}"}) == 200
    assert ask(OPEN, {**host, "cookie": COOKIE}, kind="websocket")[0]["type"] == "websocket.accept"


@pytest.mark.parametrize("query", ["", "token=", "token=wrong", "token", "token=%00", "token=é"])
def test_who_has_no_token_stays_outside(query: str) -> None:
    assert status(OPEN, {"host": "192.0.2.7:8420"}, query=query) == 403


@pytest.mark.parametrize(
    "cookie",
    ["", "foresift-8420=", "foresift-8420=wrong", f"foresift-1={OPEN.token}", "a=\x00;;="],
    ids=["none", "empty", "wrong", "other-port", "broken"],
)
def test_other_cookies_do_not_help(cookie: str) -> None:
    assert status(OPEN, {"host": "192.0.2.7:8420", "cookie": cookie}) == 403
    assert ask(OPEN, {"host": "192.0.2.7", "cookie": cookie}, kind="websocket")[0]["code"] == 1008


def test_beyond_this_machine_foreign_names_stay_outside_too() -> None:
    assert status(OPEN, {"host": "evil.example", "cookie": COOKIE}) == 421
    assert status(OPEN, {"host": f"{socket.gethostname()}:8420", "cookie": COOKIE}) == 200
    assert status(rules_for("labels.example", 80), {"host": "labels.example"}) == 403


def test_answers_carry_what_keeps_other_sites_from_using_them() -> None:
    names = {name for name, _ in ask(LOCAL, {"host": "localhost"})[0]["headers"]}
    assert {b"x-frame-options", b"x-content-type-options", b"referrer-policy", b"cross-origin-resource-policy"} <= names


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.8.0.1", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.0.2.7", "labels.example", ""]))


def names(hosts: Iterable[str]) -> list[str]:
    return [host_name(host) for host in hosts]


def test_host_names() -> None:
    assert names(["A.b:1", "[::1]:80", "x", "", "[", "a b"]) == ["a.b", "::1", "x", "", "", "a b"]
