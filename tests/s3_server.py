"""A real S3-compatible server (moto) of the test's own, on a free port."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

VARIABLE = "FORESIFT_S3"
"""Environment variable: the command ``moto_server`` of an installation of its own (``make s3``)."""
_READY_S = 120


class S3Server:
    """Buckets in memory."""

    def __init__(self, command: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._server = subprocess.Popen([command, "-H", "127.0.0.1", "-p", str(port)], env=inherited, **quiet)
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError("the S3 server does not answer")
            time.sleep(0.1)

    def put(self, path: str, data: bytes = b"") -> None:
        """A bucket, or an object in it."""
        headers = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.url}/{path}", method="PUT", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30):
            pass

    def stop(self) -> None:
        """End it; everything in it is gone."""
        self._server.kill()
        self._server.wait(timeout=60)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
