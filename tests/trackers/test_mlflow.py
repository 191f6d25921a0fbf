"""The mirror to MLflow, against a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import command
from foresift.app.generations.promoting import PromoteRequest, promote
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.lineage import Heritage
from installed import installed_command
from mlflow_server import VARIABLE, MlflowServer


@pytest.fixture(scope="session")
def server() -> Iterator[MlflowServer]:
    started = MlflowServer(installed_command(VARIABLE, what="MLflow server", target="mlflow"))
    try:
        started.start()
        yield started
    finally:
        started.remove()


@pytest.fixture
def line(home: Path, digit_files: Path, tmp_path: Path) -> list[str]:
    """Two generations, the second an heir of the first, which is deployed; their ids."""
    workspace = Workspace.open(home)
    first = train(
        workspace, digit_files / "test", TrainRequest(model="mlp:4", out=tmp_path / "1", recipe={"epochs": 1})
    )
    heritage = Heritage(heir_of=first.generation.id, target="orin")
    request = TrainRequest(model="mlp:8", out=tmp_path / "2", recipe={"epochs": 1}, heritage=heritage, seed=7)
    second = train(workspace, digit_files / "test", request)
    promote(workspace, PromoteRequest(generation=str(first.folder)))
    return [first.generation.id, second.generation.id]


def test_generations_are_runs_and_versions_once(server: MlflowServer, line: list[str], home: Path) -> None:
    from mlflow import MlflowClient

    ask = ("generations", "mirror", "--to", server.url, "--name", "digits", "--json")
    told = command(*ask, home=home)
    assert told.code == 0, told.err
    made = told.json["generations"]
    assert [(one["generation"], one["version"], one["new"]) for one in made] == [
        (line[0], "1", True),
        (line[1], "2", True),
    ]
    client = MlflowClient(tracking_uri=server.url, registry_uri=server.url)
    heir = client.get_run(made[1]["run"])
    assert heir.data.tags["foresift.heir_of"] == line[0]
    assert heir.data.tags["foresift.target"] == "orin"
    assert (heir.data.params["architecture"], heir.data.params["seed"]) == ("mlp:8", "7")
    assert "last_epoch.train_loss" in heir.data.metrics
    files = {one.path for one in client.list_artifacts(made[1]["run"], "generation")}
    assert files == {"generation/generation.json", "generation/model.safetensors"}
    assert client.get_model_version("digits", "2").tags["foresift.generation"] == line[1]
    assert client.get_model_version_by_alias("digits", "deployed").version == "1"

    promote(Workspace.open(home), PromoteRequest(generation=line[1], force=True))
    again = command(*ask, home=home).json["generations"]
    assert [{**one, "new": True, "aliases": []} for one in again] == [{**one, "aliases": []} for one in made]
    assert not any(one["new"] for one in again)
    assert client.get_run(made[1]["run"]).data.metrics == heir.data.metrics
    assert client.get_model_version_by_alias("digits", "deployed").version == "2"
    assert len(client.search_model_versions("name='digits'")) == 2


def test_another_generation_in_the_folder_is_not_copied_in_the_place_of_the_one_that_lay_there(
    server: MlflowServer, line: list[str], home: Path, digit_files: Path, tmp_path: Path
) -> None:
    (tmp_path / "1").rename(tmp_path / "moved")
    request = TrainRequest(model="mlp:4", out=tmp_path / "1", recipe={"epochs": 1}, seed=3)
    new = train(Workspace.open(home), digit_files / "test", request).generation.id
    told = command("generations", "mirror", "--to", server.url, "--name", "moved", "--json", home=home)
    assert told.code == 0, told.err
    made = {one["generation"]: one["aliases"] for one in told.json["generations"]}
    assert made == {line[1]: [], new: []}, "the deployed one is not there"


def test_a_server_that_is_not_there_is_told_in_a_line(line: list[str], home: Path) -> None:
    began = time.monotonic()
    answer = command("generations", "mirror", "--to", "http://127.0.0.1:9", home=home)
    assert answer.code == 1
    assert "MLflow server http://127.0.0.1:9 can't be used" in answer.complaint
    assert time.monotonic() - began < 60
    assert "address of an MLflow server" in command("generations", "mirror", "--to", "here", home=home).complaint
