"""A real Label Studio server of the test's own: temporary data, free port, a user with a token."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "FORESIFT_LABEL_STUDIO"
"""Environment variable: the command ``label-studio`` of an installation of its own (``make label-studio``)."""
TOKEN = "0123456789abcdef0123456789abcdef01234567"
OWNER = "owner@example.org"
_READY_S = 800


class LabelStudioServer:
    """A server that is started and stopped at will; its data stay until :meth:`remove`."""

    def __init__(self, command: Path) -> None:
        self._command = command
        self.folder = Path(tempfile.mkdtemp(prefix="fs-ls-"))
        self.images = self.folder / "served" / "images"
        self.images.mkdir(parents=True)
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def served(self) -> Path:
        """From where it serves local files."""
        return self.images.parent

    def start(self) -> None:
        """Start it and wait until it answers."""
        arguments = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(self._port)]
        user = ["--username", OWNER, "--password", "not a secret", "--user-token", TOKEN, "--enable-legacy-api-token"]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._command, *arguments, *user], env=self._environment(), cwd=self.folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _READY_S
        while not self._answers():
            if time.monotonic() > deadline or self._server.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as a power cut would."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(timeout=60)
            self._server = None

    def remove(self) -> None:
        """End it and delete its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What a person's browser would ask for; parsed JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, method=method, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """Tasks of the run's project in the order in which labelers get them."""
        (project,) = self.call("GET", f"/api/projects/?title=Foresift%20{run}")["results"]
        return list(self.call("GET", f"/api/tasks/?project={project['id']}&page_size=100&fields=all")["tasks"])

    def choose(self, task: Mapping[str, Any], *classes: str, by: int | None = None) -> int:
        """Somebody answers a task; the annotation's number."""
        result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(classes)}}]
        return self.annotate(task, result, by=by)

    def annotate(self, task: Mapping[str, Any], result: list[Any], *, by: int | None = None, **more: object) -> int:
        """Somebody submits an annotation; its number."""
        who = {} if by is None else {"completed_by": by}
        done = self.call("POST", f"/api/tasks/{task['id']}/annotations/", {"result": result, **who, **more})
        return int(done["id"])

    def change(self, annotation: int, *classes: str) -> None:
        """Somebody changes an answer."""
        result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": list(classes)}}]
        self.call("PATCH", f"/api/annotations/{annotation}/", {"result": result})

    def person(self, address: str) -> int:
        """A second labeler; the user's number."""
        return int(self.call("POST", "/api/users/", {"email": address, "username": address})["id"])

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        """No news to anybody, local files served, nothing of the test's own Python."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DJANGO"))}
        return {
            **inherited,
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder / "data"),
            "LOCAL_FILES_SERVING_ENABLED": "true",
            "LOCAL_FILES_DOCUMENT_ROOT": str(self.served),
            "LATEST_VERSION_CHECK": "false",
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        }


def image_of(task: Mapping[str, Any]) -> bytes:
    """The image that is written into a task."""
    kind, _, text = str(task["data"]["image"]).partition(",")
    assert kind == "data:image/png;base64"
    return base64.b64decode(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
