"""The files for containers, as far as they can be read without an engine that runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import command as answered
from foresift.wire.config import read_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
INSTRUCTIONS = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    plain: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return plain


def test_the_dockerfile_has_known_instructions_and_copies_what_is_there() -> None:
    assert {name for name, _ in instructions()} <= {*INSTRUCTIONS, "ENTRYPOINT", "CMD"}
    own = [rest.split()[:-1] for rest in of("COPY") if not rest.startswith("--from")]
    assert own
    assert all((ROOT / name).exists() for names in own for name in names)
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{name}" for names in own for name in names} <= set(kept)


def test_the_build_argument_chooses_cpu_or_cuda() -> None:
    assert "DEVICE=cpu" in of("ARG")
    install = next(run for run in of("RUN") if "pip install" in run)
    assert "whl/cpu" in install
    assert re.search(r"cpu\).*cuda\).*\*\).*exit 2", install)
    assert ".[all]" in install


def test_the_server_runs_as_nobody_in_particular_with_a_command_that_exists(tmp_path: Path) -> None:
    assert of("USER") == ["foresift"]
    command = [*json.loads(of("ENTRYPOINT")[0]), *json.loads(of("CMD")[0])]
    assert command[:2] == ["foresift", "serve"]
    shown = answered("serve", "--help", home=tmp_path).out
    assert all(word in shown for word in command[3:])
    assert f"127.0.0.1:{of('EXPOSE')[0].split()[0]}/health" in of("HEALTHCHECK")[0]


def test_every_name_in_the_compose_file_leads_somewhere(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"foresift", "database", "storage", "bucket"}
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert set(service["networks"]) <= set(compose["networks"])
        mounted = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert {name for name in mounted if re.fullmatch(r"[a-z]+", name)} <= set(compose["volumes"])
        healthy = [one for one, how in service.get("depends_on", {}).items() if how["condition"] == "service_healthy"]
        assert all("healthcheck" in services[one] for one in healthy)
    built = services["foresift"]["build"]
    assert (DEPLOY / built["context"] / built["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert (DEPLOY / "server.yml").is_file()


def test_only_loopback_is_published_and_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(str(port).startswith("127.0.0.1:") for port in published)
    text = (DEPLOY / "compose.yml").read_text()
    secrets = set(re.findall(r"\$\{(\w+):\?", text))
    assert secrets == {"POSTGRES_PASSWORD", "STORAGE_PASSWORD", "FORESIFT_TOKEN"}
    example = dict(line.split("=", 1) for line in (DEPLOY / "example.env").read_text().splitlines() if "=" in line[:40])
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert asked <= set(example)
    assert not any(example[name] for name in secrets)


def test_the_server_file_is_one_that_a_server_takes(compose: dict[str, Any]) -> None:
    given = dict.fromkeys(compose["services"]["foresift"]["environment"], "7")
    settings = read_settings(DEPLOY / "server.yml", environment=given)
    assert settings.server.replicas == 7
    assert settings.auth.token == "7"
    ports = {f"127.0.0.1:{port}:{port}" for port in (settings.port, settings.http_port)}
    assert ports == set(compose["services"]["foresift"]["ports"])
    assert {str(port) for port in (settings.port, settings.http_port)} == set(of("EXPOSE")[0].split())


def test_the_second_file_adds_a_gpu_to_a_service_of_the_first(compose: dict[str, Any]) -> None:
    more = yaml.safe_load((DEPLOY / "compose.gpu.yml").read_text())
    assert set(more["services"]) <= set(compose["services"])
    (device,) = more["services"]["foresift"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
