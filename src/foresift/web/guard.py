"""Who may talk to a local page: the right host name, the same origin, and the token where others can reach it."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = (
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a request must show."""

    names: Collection[str]
    """Host names by which the page may be called."""
    any_address: bool = False
    """Whether any IP address will do: no foreign name can be made to stand for one."""
    token: str = ""
    """"" = none is asked for."""
    port: int = 0

    @property
    def cookie(self) -> str:
        """Cookies do not tell ports apart, so the name does."""
        return f"foresift-{self.port}"

    def knows(self, host: str) -> bool:
        """Whether a Host header names this page."""
        name = host_name(host)
        return name in self.names or (self.any_address and is_address(name))


def rules_for(host: str, port: int) -> Rules:
    """Rules of a page that listens at ``host``: a token is asked for wherever other machines reach it."""
    if is_loopback(host):
        return Rules(names={*LOOPBACK_NAMES, host}, port=port)
    own = socket.gethostname().lower()
    names = {host.lower(), own, own.partition(".")[0], "localhost"}
    return Rules(names=names, any_address=True, token=secrets.token_urlsafe(24), port=port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at ``host``."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(name: str) -> bool:
    """Whether it is an IP address and no name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host: str) -> str:
    """A Host header without port and brackets, in lower case; "" if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Guard:
    """An ASGI application that lets only permitted requests through to another one."""

    app: App
    rules: Rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse or pass on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if reason := self._refusal(headers):
            await _refuse(scope, receive, send, 421, reason)
        elif not self.rules.token or self._has_cookie(headers):
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "http" and self._has_token(scope):
            await self._welcome(send)
        else:
            await _refuse(scope, receive, send, 403, "open the address with the token that foresift printed")

    def _refusal(self, headers: Mapping[str, str]) -> str:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.rules.knows(host):
            return "this page is not called by that host name; open the address that foresift printed"
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "another site asks; open the address that foresift printed"
        return ""

    def _has_cookie(self, headers: Mapping[str, str]) -> bool:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.rules.cookie)
        except CookieError:
            return False
        return morsel is not None and _same(morsel.value, self.rules.token)

    def _has_token(self, scope: Scope) -> bool:
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])
        return _same(given[0], self.rules.token)

    async def _welcome(self, send: Send) -> None:
        """Keep the token in a cookie and leave it out of the address, which ends up in histories."""
        cookie = f"{self.rules.cookie}={self.rules.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode("latin-1")), *_HEADERS]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return sending


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
