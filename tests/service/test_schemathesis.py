"""Schemathesis asks a server process for whatever its OpenAPI tells of, with a token and without one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from commands import start
from foresift.client import Client
from installed import installed_command

pytestmark = pytest.mark.timeout(900)  # a selection waits for the trainings that were asked for before it
VARIABLE = "FORESIFT_SCHEMATHESIS"
"""Environment variable: the command ``schemathesis`` of an installation of its own (``make schemathesis``)."""
POOL = "shades"
LEFT_OUT = "positive_data_acceptance"
"""A check: what fits the schema may be refused all the same, such as a cursor that no page gave."""
DOOR = "unsupported_method"
"""A check: who has no token is told so whatever the method."""
DELETED = "use_after_free"
"""A check: DELETE stops a job, which can be looked at afterwards."""
EXAMPLES = 8
"""Requests of each call and phase."""
TOKEN = "fuzz"
KNOWN = ("--header", f"Authorization: Bearer {TOKEN}")
LINES = f"""strategy: random
model: {{name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}}
server: {{protocol: http, port: 0}}
limits: {{requests_a_minute: 1000000, body_mib: 1}}
auth: {{token: {TOKEN}}}
storage: {{home: home}}
"""


@pytest.fixture(scope="module")
def command() -> Path:
    return installed_command(VARIABLE, what="Schemathesis", target="schemathesis")


@dataclass(frozen=True)
class Served:
    """A server process that holds a pool with labels and a selection."""

    url: str
    selection: str


@pytest.fixture(scope="module")
def served(command: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "server.yml").write_text(f"{LINES}data: {{roots: ['{images}']}}\n")
    with start("serve", folder / "server.yml", home=folder) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+?(?=,|\s|$)", process.stdout.readline())
        assert found is not None
        some = sorted(map(str, images.rglob("*.png")))
        while httpx.get(f"{found[0]}/ready").status_code != 200:  # the model is being prepared
            time.sleep(0.1)
        with Client(found[0], pool=POOL, token=TOKEN) as client:
            client.push_data(some)
            client.label({some[0]: "dark", some[-1]: "light"})
            chosen = client.select(3)
        yield Served(found[0], chosen.id)
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_no_request_of_a_pool_is_a_fault_and_every_answer_is_as_told(
    command: Path, served: Served, tmp_path: Path
) -> None:
    places = f"[parameters]\n'path.pool' = '{POOL}'\n'path.selection' = '{served.selection}'\n"
    (tmp_path / "schemathesis.toml").write_text(places)
    asked(command, served, tmp_path, "--phases", "coverage,fuzzing", *KNOWN, "--exclude-checks", LEFT_OUT)


def test_no_request_of_what_earlier_ones_made_is_a_fault(command: Path, served: Served, tmp_path: Path) -> None:
    left_out = f"{LEFT_OUT},{DELETED}"
    asked(command, served, tmp_path, "--phases", "fuzzing,stateful", *KNOWN, "--exclude-checks", left_out)


def test_who_has_no_token_is_told_so_and_nothing_else(command: Path, served: Served, tmp_path: Path) -> None:
    told = asked(command, served, tmp_path, "--phases", "fuzzing", "--exclude-checks", f"{LEFT_OUT},{DOOR}")
    assert "401 Unauthorized (23 operations)" in told


def asked(command: Path, served: Served, folder: Path, *words: str) -> str:
    """What Schemathesis prints when it has found nothing."""
    schema = httpx.get(f"{served.url}/openapi.json", headers={"authorization": f"Bearer {TOKEN}"}).json()
    (folder / "openapi.json").write_text(json.dumps(schema))
    line = [command, "run", "openapi.json", "--url", served.url, "--max-examples", str(EXAMPLES), *words]
    line += ["--generation-deterministic", "--no-shrink", "--request-timeout", "240"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(line, env=clean, cwd=folder, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout.partition("FAILURES")[2][:8000] + done.stderr[-2000:]
    assert re.search(r"Test cases:\s+\d{3,} generated", done.stdout)
    return done.stdout
