"""Real Triton and MLServer of a test's own: free ports, the ONNX files of one folder as models."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.request
from pathlib import Path

import pytest

TRITON = "FORESIFT_TRITON"
MLSERVER = "FORESIFT_MLSERVER"
"""Environment variables: the Python of an installation of its own (``make triton``, ``make mlserver``)."""
SCRIPTS = Path(__file__).parent / "engines" / "servers"
_READY_S = 240


class ModelServer:
    """A server process; its output is kept in ``log``."""

    def __init__(self, variable: str, folder: Path) -> None:
        self._python = interpreter(variable)
        self._folder = folder
        self._log = folder / "log"
        self.http, self.grpc, self._metrics = free_ports(3)
        self._command = self._triton if variable == TRITON else self._mlserver
        self._server: subprocess.Popen[bytes] | None = None

    def address(self, model: str, scheme: str = "http") -> str:
        """What ``--engine`` takes."""
        return f"triton+{scheme}://127.0.0.1:{self.grpc if scheme == 'grpc' else self.http}/{model}"

    def start(self) -> None:
        """Start it and wait until every model answers."""
        command = self._command()
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                command, env=self._environment(), cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _READY_S
        models = sorted(path.stem for path in self._folder.glob("*.onnx"))
        while not all(map(self._answers, models)):
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError(self._log.read_text()[-3000:])
            time.sleep(0.2)

    def stop(self) -> None:
        """End it and all that it started, as a power cut would."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(timeout=60)
            self._server = None

    def _answers(self, model: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v2/models/{model}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _triton(self) -> list[str]:
        ports = [str(self.http), str(self.grpc), str(self._metrics)]
        return [str(self._python), str(SCRIPTS / "triton_models.py"), str(self._folder), *ports]

    def _mlserver(self) -> list[str]:
        settings = {
            "host": "127.0.0.1",
            "http_port": self.http,
            "grpc_port": self.grpc,
            "metrics_port": self._metrics,
            "parallel_workers": 0,
        }
        (self._folder / "settings.json").write_text(json.dumps(settings))
        for path in sorted(self._folder.glob("*.onnx")):
            home = self._folder / "models" / path.stem
            home.mkdir(parents=True)
            model = {"name": path.stem, "implementation": "mlserver_models.OnnxModel", "parameters": {"uri": str(path)}}
            (home / "model-settings.json").write_text(json.dumps(model))
        start = "import sys; from mlserver.cli import main; sys.argv[1:] = ['start', '.']; main()"
        return [str(self._python), "-c", start]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
        library = sysconfig.get_config_var("LIBDIR")  # Triton's Python back end is linked to libpython
        return {**kept, "LD_LIBRARY_PATH": str(library), "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}


def interpreter(variable: str) -> Path:
    """The Python of a server's own environment; a test that needs it is skipped without it, but never in CI."""
    path = Path(os.environ.get(variable) or "absent")
    if not path.is_file():
        target = variable.removeprefix("FORESIFT_").lower()
        told = f"no {target}; run: make {target}, and set {variable} to its python"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return path


def free_ports(count: int) -> list[int]:
    """So many ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
