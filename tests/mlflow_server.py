"""A real MLflow server of the test's own: temporary data, free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

VARIABLE = "FORESIFT_MLFLOW"
"""Environment variable: the command ``mlflow`` of an installation of its own (``make mlflow``)."""
_READY_S = 250


class MlflowServer:
    """A server with an empty database."""

    def __init__(self, command: Path) -> None:
        self._command = command
        self.folder = Path(tempfile.mkdtemp(prefix="fs-mlflow-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        data = ["--backend-store-uri", f"sqlite:///{self.folder / 'books.sqlite'}"]
        data += ["--artifacts-destination", str(self.folder / "files")]
        where = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._command, "server", *data, *where],
                env=_environment(self._command),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def remove(self) -> None:
        """End it and its workers, and delete its data."""
        if self._server is not None:
            os.killpg(self._server.pid, 9)
            self._server.wait(timeout=60)
            self._server = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def _environment(command: Path) -> dict[str, str]:
    """No news to anybody, nothing of the test's own Python; its helpers are found beside it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW"))}
    return {
        **inherited,
        "PATH": f"{command.parent}:{inherited.get('PATH', '')}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
