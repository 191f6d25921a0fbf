"""What every request of HTTP goes through: its id, the door, limits that hold while the body comes, and the diary."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from foresift.core.errors import ForesiftError
from foresift.service.allowed import ForbiddenError
from foresift.service.application import Application
from foresift.service.diary import Seen, request_id
from foresift.service.refusals import TooLargeError, TooManyError, status_of
from foresift.wire.calls import Call, Scope, call_of
from foresift.wire.messages import Problem

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
OPEN = ("/health", "/ready")
"""Paths that need no token."""
IDLE_S = 30.0
"""How long the next part of a body may take."""


@dataclass(slots=True)
class _Request:
    """One request on its way."""

    scope: Message
    id: str
    call: Call | None
    status: int = 500
    caller: str = ""
    came: int = 0
    whole: bool = False
    began: float = field(default_factory=time.perf_counter)

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def peer(self) -> str:
        return str((self.scope.get("client") or ("",))[0])

    def header(self, name: str) -> str:
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == wanted), "")


class Gate:
    """An ASGI application that lets only permitted requests through to another one."""

    def __init__(self, app: Any, *, application: Application) -> None:
        self._app, self._application = app, application
        self._most_bytes = application.settings.limits.body_mib << 20

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, request_id(_header(scope, b"x-request-id")), call_of(scope["method"], scope["path"]))
        sending = self._sending(request, send)
        try:
            self._check(request)
            scope.setdefault("state", {})["caller"] = request.caller
            await self._app(scope, self._receiving(request, receive), sending)
        except ForesiftError as error:
            await self._refused(error)(scope, receive, sending)
        finally:
            self._application.diary.write(self._seen(request))

    def _check(self, request: _Request) -> None:
        """Raise unless the request may be read at all."""
        access = self._application.access
        if access.is_open:
            _check_same_site(request)
        if request.path not in OPEN:
            scope: Scope = "read" if request.call is None else request.call.scope
            request.caller = access.admit(request.header("authorization"), request.peer, scope).id
        length = request.header("content-length")
        if length.isdecimal() and int(length) > self._most_bytes:
            raise self._too_large()

    def _receiving(self, request: _Request, receive: Receive) -> Receive:
        """The body as it comes, while it is no larger than it may be and does not stand still."""

        async def receiving() -> Message:
            if request.whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), IDLE_S)
            except TimeoutError:
                raise HTTPException(408, f"nothing came for {IDLE_S:.0f} s") from None
            request.came += len(message.get("body", b""))
            request.whole = not message.get("more_body", False)
            if request.came > self._most_bytes:
                raise HTTPException(413, str(self._too_large()))
            return message

        return receiving

    def _sending(self, request: _Request, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request.id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        return sending

    def _seen(self, request: _Request) -> Seen:
        return Seen(
            protocol="http",
            call=request.call.name if request.call is not None else "",
            changes=request.call is not None and request.call.method != "GET",
            where=request.path[:500],
            status=request.status,
            seconds=time.perf_counter() - request.began,
            caller=request.caller,
            peer=request.peer,
            request=request.id,
        )

    def _refused(self, error: ForesiftError) -> JSONResponse:
        headers = {"Retry-After": "1"} if isinstance(error, TooManyError) else {}
        text = self._application.discretion.refusal(error).encode("utf-8", "replace").decode()
        told = Problem(error=type(error).__name__, detail=text)
        return JSONResponse(told.model_dump(), status_code=status_of(error), headers=headers)

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is larger than {self._most_bytes >> 20} MiB (limits.body_mib)")


def _check_same_site(request: _Request) -> None:
    """Raise if a browser was led here by a page of somebody else: only where no token keeps such pages out."""
    host, origin = request.header("host"), request.header("origin")
    if not _is_local(host):
        raise ForbiddenError(f"this server is not called {host[:100]!r}; without tokens it answers to localhost alone")
    if origin and urlsplit(origin).netloc.lower() != host.lower():
        raise ForbiddenError("another site asks; a server without tokens answers its own pages alone")


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _header(scope: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
