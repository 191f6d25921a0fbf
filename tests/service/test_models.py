"""The generation that a server scores with, when folders change under it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from foresift.app.generations.descent import find
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import ModelError
from foresift.service.models import ModelInUse
from foresift.stores.generations import read_generation
from foresift.wire.messages import PageRequest


@pytest.fixture
def made(home: Path, generation: Path, digit_files: Path, tmp_path: Path) -> Callable[[], ModelInUse]:
    """A server's model as each start of it finds it: promoted, moved, and another one trained in its folder."""
    workspace, folder = Workspace.open(home), tmp_path / "gen"
    shutil.copytree(generation, folder)
    find(workspace, folder)

    def start() -> ModelInUse:
        return ModelInUse(workspace, lambda: generation, folder=tmp_path)

    start().promote(folder, record={})
    folder.rename(tmp_path / "moved")
    train(workspace, digit_files / "test", TrainRequest(model="mlp:4", out=folder, recipe={"epochs": 1}))
    return start


def test_a_server_does_not_score_with_what_took_the_place_of_the_promoted_generation(
    made: Callable[[], ModelInUse], home: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="holds another generation now"):
        made().folder()
    find(Workspace.open(home), tmp_path / "moved")
    assert made().folder() == tmp_path / "moved"
    made().promote(tmp_path / "gen", record={})
    assert made().folder() == tmp_path / "gen", "promoted itself"


def test_generations_are_listed_where_they_lie(made: Callable[[], ModelInUse], tmp_path: Path) -> None:
    assert [one.id for one in made().page(PageRequest()).items] == [read_generation(tmp_path / "gen").id]
