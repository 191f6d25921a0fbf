"""``foresift.Server``: a configuration, listening."""

from __future__ import annotations

import ipaddress
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from foresift.core.errors import MissingExtraError, UsageError
from foresift.wire.config import Settings, read_settings

LOOPBACK = "127.0.0.1"
START_S = 30.0
KEEP_ALIVE_S = 75
"""How long a connection may rest: longer than clients keep theirs (httpx 5 s), or they ask while it is being closed."""
GRACE_S = 10
"""What was asked already has this long to be answered."""


class Server:
    """A server from one YAML file.

    ``start`` returns when requests are answered; use it as a context manager, or ``stop`` it, or ``wait``.
    """

    def __init__(self, config_path: str | Path | None = None, *, settings: Settings | None = None) -> None:
        """Read the configuration; nothing listens yet.

        Raises:
            UsageError: the file is not as expected.
        """
        if (config_path is None) == (settings is None):
            raise UsageError("give a server either config_path= or settings=")
        self.settings = read_settings(config_path) if config_path is not None else settings or Settings()
        self.base = Path(config_path).absolute().parent if config_path is not None else Path.cwd()
        self.notes: list[str] = []
        self._listening: list[tuple[Any, threading.Thread]] = []
        self._application: Any = None
        self._grpc: Any = None
        self.http_urls: list[str] = []
        self.grpc_urls: list[str] = []

    @classmethod
    def start_by_config(cls, path: str | Path) -> Server:
        """A started server; as ALaaS spells it."""
        return cls(config_path=path).start()

    def start(self) -> Server:
        """Listen; returns itself once requests are answered.

        Raises:
            UsageError: a port is taken, or the strategy is unknown.
        """
        if self._application is not None:
            return self
        try:
            from foresift.service.application import Application
            from foresift.service.http import http_app
        except ImportError as error:
            raise MissingExtraError("the server", "server") from error
        self._application = Application(self.settings, base=self.base)
        host = self._host()
        try:
            app = http_app(self._application)
            for at, port in enumerate(self.settings.http_ports):
                self._listen(app, host, port, required=at == 0)
            if self.settings.server.protocol == "grpc":
                self._listen_grpc(host, self.settings.port)
            if taken_up := self._application.resume():
                self.notes.append(f"jobs taken up from before: {taken_up}")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Answer what was asked, then end; jobs that wait or run are kept for the next start."""
        if self._application is not None:
            self._application.drain()
        if self._grpc is not None:
            self._grpc.stop(grace=GRACE_S).wait(START_S)
            self._grpc = None
        for server, thread in self._listening:
            server.should_exit = True
            thread.join(timeout=START_S)
        self._listening, self.http_urls, self.grpc_urls = [], [], []
        if self._application is not None:
            self._application.close()
            self._application = None

    @property
    def urls(self) -> list[str]:
        """All addresses, that of the named protocol first."""
        return [*self.grpc_urls, *self.http_urls]

    def wait(self) -> None:
        """Until :meth:`stop`, or an interrupt."""
        for _, thread in self._listening:
            while thread.is_alive():
                thread.join(timeout=0.5)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _host(self) -> str:
        host = self.settings.server.host
        if is_loopback(host) or self.settings.auth.token or self.settings.auth.tokens:
            if not is_loopback(host) and self.settings.server.tls_certificate is None:
                self.notes.append(f"tokens travel unencrypted to {host} (server.tls_certificate, server.tls_key)")
            return host
        self.notes.append(
            f"no token is configured: listening on {LOOPBACK} instead of {host} (auth.token, auth.tokens)"
        )
        return LOOPBACK

    def _listen_grpc(self, host: str, port: int) -> None:
        from foresift.service.rpc import grpc_server

        certificate, key = self._path(self.settings.server.tls_certificate), self._path(self.settings.server.tls_key)
        shown = f"[{host}]" if ":" in host else host
        try:
            self._grpc, bound = grpc_server(
                self._application,
                f"{shown}:{port}",
                certificate=None if certificate is None else Path(certificate),
                key=None if key is None else Path(key),
            )
        except OSError as error:
            raise UsageError(
                f"{host}:{port} can't be listened on ({error.strerror}); free it or name another port"
            ) from None
        self._grpc.start()
        self.grpc_urls.append(f"{'grpc' if certificate is None else 'grpcs'}://{shown}:{bound}")

    def _listen(self, app: Any, host: str, port: int, *, required: bool) -> None:
        import uvicorn

        try:
            listener = bound(host, port)
        except OSError as error:
            if required:
                raise UsageError(
                    f"{host}:{port} can't be listened on ({error.strerror}); free it or name another port"
                ) from None
            self.notes.append(f"port {port} is taken ({error.strerror}); HTTP is served on the other port alone")
            return
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=self._path(self.settings.server.tls_certificate),
            ssl_keyfile=self._path(self.settings.server.tls_key),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True, name="foresift-http")
        thread.start()
        self._listening.append((server, thread))
        while not server.started and thread.is_alive():
            thread.join(timeout=0.02)
        scheme = "https" if self.settings.server.tls_certificate else "http"
        self.http_urls.append(f"{scheme}://{host}:{listener.getsockname()[1]}")

    def _path(self, given: str | None) -> str | None:
        return None if given is None else str(self.base / Path(given).expanduser())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens; raises ``OSError`` where it can't."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener
