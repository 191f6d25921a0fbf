"""One request for one object over HTTP: connections that are kept, resolved addresses that are checked, redirects.

The standard library's client, because addresses have to go out as they came (pre-signed links), each connection
has to be made to the very address that was checked, and a request costs a fifth of what richer clients take.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from foresift.core.digests import digest_bytes
from foresift.sources.read import FileBytes, Stamp

Check: TypeAlias = Callable[[str, int, str], None]
"""Told (host, port, resolved address) before every connection; raises ``DataError`` to forbid it."""
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 20
_IDLE = 64
_IDLE_HOSTS = 64
"""Connections that are kept of each host, and hosts of which any are."""
_SPARE_BYTES = 64 << 10
"""A body of an answer that nobody needs is read up to here, to keep the connection."""


class RefusedError(Exception):
    """An answer other than the object; ``status`` 0 = there is something wrong with the address or the answer."""

    def __init__(self, reason: str, *, status: int = 0, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.status = status
        self.wait_s = wait_s
        """How long the server wants to be left alone."""


class LostError(Exception):
    """The connection could not be made, or broke; trying again may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one try may take."""

    connect_s: float = 10.0
    silence_s: float = 30.0
    """Without a byte."""
    whole_s: float = 300.0
    """From connecting to the last byte."""


class _Door(NamedTuple):
    """What a connection leads to."""

    host: str
    port: int | None
    secure: bool
    proxy: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, redirects apart."""

    method: str
    url: str
    limit_bytes: int
    deadline: float
    only: str
    """The range of bytes; "" = all."""

    @property
    def stamp_only(self) -> bool:
        """Whether nobody reads the body."""
        return self.method == "HEAD" or bool(self.only)


@dataclass(slots=True)
class Web:
    """Requests from any number of threads; connections are kept for whoever asks the same host next."""

    patience: Patience
    checks: list[Check] = field(default_factory=list)
    _idle: dict[_Door, list[http.client.HTTPConnection]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def get(self, url: str, *, limit_bytes: int) -> FileBytes:
        """The bytes of an object and their stamp.

        Raises:
            RefusedError, LostError: why there are none.
        """
        return self._ask("GET", url, limit_bytes)

    def head(self, url: str) -> Stamp:
        """The stamp alone."""
        return self._ask("HEAD", url, 0).stamp

    def first_byte(self, url: str) -> Stamp:
        """The stamp alone, of a pre-signed link: these are good for ``GET`` and nothing else."""
        return self._ask("GET", url, 0, only="bytes=0-0").stamp

    def _ask(self, method: str, url: str, limit_bytes: int, *, only: str = "") -> FileBytes:
        deadline = time.monotonic() + self.patience.whole_s
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._once(_Asked(method, url, limit_bytes, deadline, only))
            if isinstance(answer, FileBytes):
                return answer
            url = _redirected(url, answer)
        raise RefusedError(f"more than {MAX_REDIRECTS} redirects")

    def _once(self, asked: _Asked) -> FileBytes | str:
        """The object, or where it lies now."""
        door, path, headers = self._request(asked)
        connection = self._taken(door)
        try:
            response = _response(connection, asked.method, path, headers)
            if connection.sock is not None:
                connection.sock.settimeout(self.patience.silence_s)
            found = _answer(asked, response)
            if not response.isclosed():  # something of it is still on its way: not a beginning for the next answer
                response.close()
                connection.close()
        except (OSError, http.client.HTTPException, RefusedError, LostError) as error:
            connection.close()
            raise _explained(error) from None
        except BaseException:
            connection.close()
            raise
        self._kept(door, connection)
        return found

    def _request(self, asked: _Asked) -> tuple[_Door, str, dict[str, str]]:
        """Whom to connect to, the path to ask for, and headers."""
        try:
            parts = urlsplit(asked.url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise RefusedError("not a possible address") from None
        if parts.scheme.lower() not in ("http", "https") or not host:
            raise RefusedError("not a possible address")
        path = _escaped(parts.path or "/") + (f"?{_escaped(parts.query)}" if parts.query else "")
        headers = {"Accept-Encoding": "identity", "User-Agent": "foresift"}
        if asked.only:
            headers["Range"] = asked.only
        if parts.username is not None:
            headers["Authorization"] = _basic(unquote(parts.username), unquote(parts.password or ""))
        secure = parts.scheme.lower() == "https"
        proxy = "" if self.checks else _proxy(parts.scheme.lower(), host)
        if proxy and not secure:
            path = f"http://{parts.netloc.rpartition('@')[2]}{path}"
        return _Door(host, port, secure, proxy), path, headers

    def _taken(self, door: _Door) -> http.client.HTTPConnection:
        with self._guard:
            kept = self._idle.get(door)
            if kept:
                return kept.pop()
        return self._new(door)

    def _kept(self, door: _Door, connection: http.client.HTTPConnection) -> None:
        with self._guard:
            kept = self._idle.setdefault(door, [])
            if len(kept) < _IDLE and len(self._idle) <= _IDLE_HOSTS:
                kept.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Let go of connections that are kept."""
        with self._guard:
            for kept in self._idle.values():
                for connection in kept:
                    connection.close()
            self._idle.clear()

    def _new(self, door: _Door) -> http.client.HTTPConnection:
        wait_s = self.patience.connect_s
        kind = _Secure if door.secure else _Plain
        if not door.proxy:
            try:
                connection = kind(door.host, door.port, timeout=wait_s)
            except http.client.InvalidURL:
                raise RefusedError("not a possible address") from None
            connection.checks = self.checks
            return connection
        at = urlsplit(door.proxy if "://" in door.proxy else f"http://{door.proxy}")
        connection = kind(at.hostname or "", at.port, timeout=wait_s)
        if door.secure:
            connection.set_tunnel(door.host, door.port)
        return connection


def _response(
    connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]
) -> http.client.HTTPResponse:
    """The head of an answer; once more where the server had let go of an idle connection, which is no failure."""
    reused = connection.sock is not None
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse()
    except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
        connection.close()
        if not reused:
            raise
    connection.request(method, path, headers=headers)
    return connection.getresponse()


class _Plain(http.client.HTTPConnection):
    """A connection to an address that was checked: resolving twice would let a name change in between."""

    checks: list[Check] = []  # noqa: RUF012 - set on every connection that is made

    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.timeout, self.checks)
        if self._tunnel_host:  # type: ignore[attr-defined]
            self._tunnel()  # type: ignore[attr-defined]


class _Secure(http.client.HTTPSConnection):
    checks: list[Check] = []  # noqa: RUF012

    def connect(self) -> None:
        raw = _connected(self.host, self.port, self.timeout, self.checks)
        name = self.host
        if self._tunnel_host:  # type: ignore[attr-defined]
            self.sock, name = raw, self._tunnel_host  # type: ignore[attr-defined]
            self._tunnel()  # type: ignore[attr-defined]
        self.sock = self._context.wrap_socket(raw, server_hostname=name)  # type: ignore[attr-defined]


def _connected(host: str, port: int, timeout: float | None, checks: list[Check]) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for check in checks:
        for *_, address in found:
            check(host, port, str(address[0]))
    failure: OSError = OSError("no address")
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(timeout)
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _answer(asked: _Asked, response: http.client.HTTPResponse) -> FileBytes | str:
    status = response.status
    if status in _REDIRECTS and (place := response.headers.get("Location")):
        _drop(response)
        return place
    if status != 200 and not (status == 206 and asked.only):
        wait_s = _seconds(response.headers.get("Retry-After"))
        _drop(response)
        raise RefusedError(f"HTTP {status} {response.reason}".strip(), status=status, wait_s=wait_s)
    version = version_of(response.headers.get("ETag"), _date(response))
    if asked.stamp_only:
        _drop(response)
        return FileBytes(b"", (_whole_length(response), version))
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RefusedError("the server sends it compressed though it was asked not to")
    if _length(response) > asked.limit_bytes:
        raise RefusedError(f"{_length(response)} bytes long, above the limit of {asked.limit_bytes}")
    data = _body(response, asked.limit_bytes, asked.deadline)
    if not data:
        raise RefusedError("zero bytes long")
    return FileBytes(data, (len(data), version))


def _body(response: http.client.HTTPResponse, limit_bytes: int, deadline: float) -> bytes:
    """All of it; a server that drips a byte now and then is no better than one that is silent."""
    parts: list[bytes] = []
    size = 0
    while part := response.read1(_CHUNK):
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            raise RefusedError(f"above the limit of {limit_bytes} bytes")
        if time.monotonic() > deadline:
            raise LostError("too slow")
    if response.length:  # read1 ends quietly where read would complain
        raise LostError(f"cut short: {response.length} bytes of it are missing")
    response.close()
    return b"".join(parts)


def _drop(response: http.client.HTTPResponse) -> None:
    """Read the rest of an answer that nobody needs, if it is short: then the connection can be kept."""
    response.read(_SPARE_BYTES)


def version_of(e_tag: str | None, modified: float | None) -> int:
    """A number that changes with the object: of its ETag, else its time in seconds; 0 = the server tells neither."""
    if e_tag:
        return int(digest_bytes(e_tag.encode("utf-8", "replace"))[:15], 16) or 1
    return int(modified) if modified is not None else 0


def _redirected(url: str, place: str) -> str:
    target = urljoin(url, place)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise RefusedError("redirected from https to an address without")
    return target


def _explained(error: Exception) -> Exception:
    """What a failed try means, without the address in it."""
    if isinstance(error, RefusedError | LostError):
        return error
    if isinstance(error, TimeoutError):
        return LostError("timed out")
    if isinstance(error, socket.gaierror):
        return LostError("its host is not known to the name server")
    if isinstance(error, ssl.SSLCertVerificationError):
        return RefusedError(f"its certificate can't be trusted ({error.verify_message})")
    if isinstance(error, ConnectionRefusedError):
        return LostError("its host refuses connections")
    if isinstance(error, http.client.InvalidURL):
        return RefusedError("not a possible address")
    if isinstance(error, ConnectionResetError | http.client.RemoteDisconnected | BrokenPipeError):
        return LostError("the connection was cut")
    if isinstance(error, http.client.IncompleteRead):
        return LostError("cut short")
    if isinstance(error, OSError):
        return LostError(error.strerror or type(error).__name__)
    return LostError(f"an answer that is no HTTP ({type(error).__name__})")


def _whole_length(response: http.client.HTTPResponse) -> int:
    """Bytes of the object, of which a range may be one."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isascii() and total.isdigit() else _length(response)


def _length(response: http.client.HTTPResponse) -> int:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else -1


def _date(response: http.client.HTTPResponse) -> float | None:
    try:
        return parsedate_to_datetime(response.headers.get("Last-Modified", "")).timestamp()
    except (ValueError, TypeError):
        return None


def _seconds(text: str | None) -> float:
    return min(30.0, float(text)) if text is not None and text.isascii() and text.isdigit() else 0.0


def _escaped(text: str) -> str:
    """Spaces and letters beyond ASCII escaped; whatever is escaped already stays as it is."""
    return quote(text, safe="%/:=&?~#+!$,;'@()*[]")


def _basic(user: str, password: str) -> str:
    from base64 import b64encode

    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _proxy(scheme: str, host: str) -> str:
    proxies = getproxies()
    return "" if not proxies.get(scheme) or proxy_bypass(host) else proxies[scheme]
