from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from foresift.core.errors import UsageError
from foresift.wire.config import json_schema, parse_settings, read_settings

PAPER = """
name: "IMG_CLASSIFICATION"
version: 0.1
active_learning:
  strategy:
    type: "auto"
  model:
    name: "resnet18"
    hub_name: "pytorch/vision:release/0.12"
    batch_size: 1
  device: CPU
al_worker:
  protocol: "grpc"
  host: "0.0.0.0"
  port: 60035
  replicas: 1
"""
PUBLIC_CODE = """
name: "IMG_CLASSIFICATION"
version: 0.1
active_learning:
  strategy:
    type: "LeastConfidence"
    model:
      name: "resnet18"
      hub: "pytorch/vision:v0.10.0"
      batch_size: 4
      device: "cpu"
  al_worker:
    protocol: "http"
    host: "0.0.0.0"
    port: 8081
    replicas: 2
"""


def test_the_papers_file_is_read_and_its_printed_client_finds_http_at_8888() -> None:
    settings = parse_settings(yaml.safe_load(PAPER))
    assert (settings.strategy, settings.model.name, settings.model.batch_size) == ("auto", "resnet18", 1)
    assert (settings.server.protocol, settings.port, settings.http_ports) == ("grpc", 60035, (8888,))
    assert (settings.model.device, settings.version) == ("cpu", "0.1")


def test_the_public_codes_file_is_read_and_http_is_at_its_port_and_at_8888() -> None:
    settings = parse_settings(yaml.safe_load(PUBLIC_CODE))
    assert (settings.strategy, settings.model.batch_size, settings.server.replicas) == ("LeastConfidence", 4, 2)
    assert settings.http_ports == (8081, 8888)


def test_a_cluster_may_stand_beside_any_shape() -> None:
    assert parse_settings({"ray": "auto"}).ray == "auto"
    assert parse_settings({**yaml.safe_load(PUBLIC_CODE), "ray": "10.0.0.7:6379"}).ray == "10.0.0.7:6379"
    assert parse_settings({"name": "alone"}).ray is None


@pytest.mark.parametrize("where", ["model", "strategy.model"])
def test_a_weights_line_may_be_added_to_both(where: str) -> None:
    plain = yaml.safe_load(PAPER if where == "model" else PUBLIC_CODE)
    section = plain["active_learning"]["model"] if where == "model" else plain["active_learning"]["strategy"]["model"]
    section["weights"] = "generations/1"
    assert parse_settings(plain).model.weights == "generations/1"


def test_sections_of_ours_may_stand_beside_the_papers() -> None:
    plain = yaml.safe_load(PAPER) | {"data": {"roots": ["images"]}, "auth": {"token": "${SECRET}"}}
    settings = parse_settings(plain, environment={"SECRET": "s3"})
    assert (settings.data.roots, settings.auth.token) == (("images",), "s3")


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"modl": {}}, "did you mean 'model'"),
        ({"model": {"nme": "x"}}, "model: unknown key 'nme'; did you mean 'name'"),
        ({"active_learning": {"strategi": {}}}, "did you mean 'strategy'"),
        ({"active_learning": {"strategy": {"typ": "x"}}}, "did you mean 'type'"),
        ({"active_learning": {}, "al_worker": {"hosst": "x"}}, "did you mean 'host'"),
        ({"server": {"port": 70000}}, "server.port"),
        ({"auth": {"token": "${MISSING_HERE}"}}, "the environment has no MISSING_HERE"),
        ([1, 2], "expected keys such as"),
        (None, "expected keys such as"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(plain: object, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_settings(plain, where="server.yml", environment={})
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("server.yml")


@pytest.mark.parametrize("text", [b"a: [", b"\xff\xfe", b"!!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_yaml_is_told_so(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "server.yml"
    file.write_bytes(text)
    with pytest.raises(UsageError, match=r"server\.yml"):
        read_settings(file)


def test_a_missing_file_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_settings(tmp_path / "none.yml")


def test_a_default_stands_in_for_a_missing_variable() -> None:
    assert parse_settings({"name": "${NAME:-cars}"}, environment={}).name == "cars"


def test_the_schema_accepts_what_we_accept_and_refuses_unknown_keys() -> None:
    schema = json_schema()
    jsonschema.validate({"name": "x", "model": {"name": "resnet8"}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"nme": "x"}, schema)
