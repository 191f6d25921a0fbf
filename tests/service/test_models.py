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
from foresift.core.errors import ModelError, StaleError
from foresift.service.models import ModelInUse
from foresift.stores.files import read_json
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
    kept = (tmp_path / "in-use.json").read_bytes()
    made().promote(tmp_path / "gen", record={"forced": True})
    assert (tmp_path / "in-use.json").read_bytes() == kept, "what spoke for it first stays"


@pytest.mark.parametrize("promoted", [False, True])
def test_a_live_server_stays_with_its_generation_when_another_takes_the_folder(
    promoted: bool, home: Path, generation: Path, digit_files: Path, tmp_path: Path
) -> None:
    workspace, folder, moved = Workspace.open(home), tmp_path / "gen", tmp_path / "moved"
    shutil.copytree(generation, folder)
    find(workspace, folder)
    model = ModelInUse(workspace, lambda: folder, folder=tmp_path)
    if promoted:
        model.promote(folder, record={"evaluation": "the first"})
    first = model.held().generation
    assert model.folder() == folder
    assert model.trouble() == ""
    folder.rename(moved)
    second = train(workspace, digit_files / "test", TrainRequest(model="mlp:4", out=folder, recipe={"epochs": 1}))
    with pytest.raises(ModelError, match=f"generation {first[:12]} is gone: .* holds another generation now"):
        model.folder()
    assert model.trouble()
    assert [(one.id, one.in_use) for one in model.page(PageRequest()).items] == [(second.generation.id, False)]
    find(workspace, moved)
    assert model.held() == (moved, first)
    assert model.trouble() == ""
    if promoted:
        model.promote(moved, record={"evaluation": "none"})
        kept = read_json(tmp_path / "in-use.json")
        assert (kept["folder"], kept["evaluation"]) == (str(moved), "the first"), "what spoke for it moves along"
    with pytest.raises(StaleError):
        model.promote(folder, before=second.generation.id, record={})
    assert model.promote(folder, before=first, record={}).in_use
    assert model.held() == (folder, second.generation.id)


def test_generations_are_listed_where_they_lie(made: Callable[[], ModelInUse], tmp_path: Path) -> None:
    assert [one.id for one in made().page(PageRequest()).items] == [read_generation(tmp_path / "gen").id]
