"""A local page: a free port, the address to open, and the server until it is interrupted."""

from __future__ import annotations

import errno
import socket
import threading
import webbrowser
from dataclasses import dataclass
from typing import Any

from foresift.core.errors import UsageError
from foresift.web.guard import Guard, Rules, rules_for

USUAL_PORT = 8420
_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - told apart, not listened on
_GOODBYE_S = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a page listens, and who may call it."""

    listener: socket.socket
    rules: Rules
    url: str
    """What a person opens; holds the token if one is asked for."""


def listen(host: str, port: int | None) -> Address:
    """A socket that listens at ``host``.

    Args:
        port: None = the usual one, or a free one while that is taken.
    Raises:
        UsageError: the port is taken, or no such host is here.
    """
    listener = _bound(host, port) if port is not None else _usual_or_free(host)
    number = int(listener.getsockname()[1])
    rules = rules_for(host, number)
    shown = socket.gethostname() if host in _EVERYWHERE else host
    shown = f"[{shown}]" if ":" in shown else shown
    token = f"?token={rules.token}" if rules.token else ""
    return Address(listener=listener, rules=rules, url=f"http://{shown}:{number}/{token}")


def serve(app: Any, address: Address, *, browser: bool) -> None:
    """Serve an ASGI application until the process is interrupted (Ctrl+C)."""
    import uvicorn

    config = uvicorn.Config(
        Guard(app, address.rules),
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GOODBYE_S,
    )
    if browser:
        threading.Thread(target=webbrowser.open, args=(address.url,), daemon=True).start()
    try:
        uvicorn.Server(config).run(sockets=[address.listener])
    except KeyboardInterrupt:
        pass
    finally:
        address.listener.close()


def _usual_or_free(host: str) -> socket.socket:
    try:
        return _bound(host, USUAL_PORT)
    except _TakenError:
        return _bound(host, 0)


class _TakenError(UsageError):
    """Somebody else listens there."""


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        raise _refused(host, port, error) from None
    return listener


def _refused(host: str, port: int, error: Exception) -> UsageError:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return _TakenError(f"port {port} of {host} is taken; leave out --port for a free one")
    said = getattr(error, "strerror", None) or error
    return UsageError(f"can't listen at {host}, port {port}: {said}; the default is --host 127.0.0.1")
