"""A real HTTP server on a free port of the loopback interface that serves bytes, and does what real servers do."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServer:
    """Serves ``files``; ``faults`` says for a path what goes wrong, one word a request, then nothing does.

    Words: a status (``503``), ``reset``, ``truncate``, ``slow`` (longer than the client waits), ``hang``,
    ``redirect=URL``, ``chunked`` (a body without its end), ``no-head``, ``drip``.
    """

    def __init__(self, files: Mapping[str, bytes], *, delay_s: float = 0.0) -> None:
        self.files = dict(files)
        self.faults: dict[str, list[str]] = {}
        self.delay_s = delay_s
        self.stamped = True
        self.retry_after = ""
        self.asked: list[tuple[str, str]] = []
        self.seen_headers: list[dict[str, str]] = []
        self.bodies = Counter[str]()
        self.most_at_once = 0
        self._at_once = 0
        self._guard = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.scene = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def urls(self) -> list[str]:
        return [f"{self.url}/{name}" for name in sorted(self.files)]

    def fault(self, name: str) -> str:
        """What goes wrong with this request."""
        words = self.faults.get(name) or self.faults.get("*") or [""]
        return words[1] if words[0] == "always" else words.pop(0)

    @contextmanager
    def busy(self) -> Iterator[None]:
        with self._guard:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._guard:
                self._at_once -= 1

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    scene: WebServer
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        scene = self.server.scene
        with scene.busy():
            scene.asked.append((self.command, self.path))
            scene.seen_headers.append(dict(self.headers))
            time.sleep(scene.delay_s)
            name = self.path.partition("?")[0].lstrip("/")
            if not self._faulty(scene.fault(name), name, body=body):
                self._served(name, body=body)

    def _served(self, name: str, *, body: bool) -> None:
        scene = self.server.scene
        data = scene.files.get(name)
        if data is None:
            self._status(404)
            return
        wanted = self.headers.get("Range")
        self.send_response(206 if wanted else 200)
        if scene.stamped:
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 12:00:00 GMT")
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()[:16]}"')
        if wanted:
            self.send_header("Content-Range", f"bytes 0-0/{len(data)}")
            data = data[:1]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            scene.bodies[name] += not wanted
            self.wfile.write(data)

    def _faulty(self, word: str, name: str, *, body: bool) -> bool:
        """Whether the request was dealt with badly already."""
        data = self.server.scene.files.get(name, b"")
        if word.isdigit():
            self._status(int(word))
        elif word == "reset":
            self.close_connection = True
            self.connection.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER of 0: a reset instead of an end
        elif word == "truncate":
            self.send_response(200)
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 12:00:00 GMT")
            self.send_header("ETag", '"truncated"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif word == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.close_connection = True
        elif word == "slow":
            time.sleep(1.5)
            self.close_connection = True
        elif word.startswith("redirect="):
            self._status(302, Location=word.removeprefix("redirect="))
        elif word == "no-head" and not body:
            self._status(405)
        else:
            return False
        return True

    def _status(self, status: int, **headers: str) -> None:
        self.send_response(status)
        if self.server.scene.retry_after:
            headers["Retry-After"] = self.server.scene.retry_after
        for name, value in {"Content-Length": "4", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"none")

    def log_message(self, *args: object) -> None:
        """Quiet."""
