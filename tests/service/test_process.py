"""The server as a process: it drains on SIGTERM, and a killed one's work is taken up."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from commands import start
from foresift.client import Client, Job

pytestmark = pytest.mark.timeout(240)


def configured(tmp_path: Path, images: Path) -> Path:
    file = tmp_path / "server.yml"
    file.write_text(
        "strategy: margin\nmodel: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        "server: {protocol: grpc, port: 0, http_port: 0}\n"
        f"data: {{roots: ['{images}']}}\nstorage: {{home: home}}\n"
    )
    return file


def serving(process: subprocess.Popen[str]) -> list[str]:
    """The addresses that a server prints, once it answers."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.findall(r"(?:http|grpc)://\S+?(?=,|\s|$)", line)
    assert len(found) == 2, line + (process.stderr.read() if process.stderr and process.poll() is not None else "")
    return found


def test_a_killed_servers_job_is_taken_up_and_a_term_ends_what_was_asked(tmp_path: Path, images: Path) -> None:
    file, some = configured(tmp_path, images), sorted(map(str, images.rglob("*.png")))
    with start("serve", file, home=tmp_path) as first:
        with Client(serving(first)[0]) as client:
            job = client.push_data(some, asynchronous=True, key="a")
            assert isinstance(job, Job)
        first.kill()
    with start("serve", file, "--log", home=tmp_path) as second:
        urls = serving(second)
        with Client(urls[1]) as client:
            again = client.push_data(some, asynchronous=True, key="a")
            assert isinstance(again, Job)
            assert again.id == job.id
            assert again.wait(timeout_s=120)["usable"] == 40
            loaded = Path(f"/proc/{second.pid}/maps").read_text()
            assert "python" in loaded
            assert "libtorch" not in loaded, "the process that answers requests runs no network"
            trained = client.push_data(some, asynchronous=True)
            assert isinstance(trained, Job)
        second.send_signal(signal.SIGTERM)
        _, told = second.communicate(timeout=60)
    assert second.returncode == 0, told
    rows = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    assert {row["event"] for row in rows} == {"request"}
    assert {row["call"] for row in rows} >= {"Push", "Job"}
    assert "stopping" in told
    assert "Traceback" not in told
