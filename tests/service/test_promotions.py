"""The gate of promotions over both wires: the one of the command, on labeled images that the server may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from commands import command
from foresift.app.generations.descent import find
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.client import Client, ServerError
from foresift.client.transports import Grpc, Http
from foresift.core.errors import ModelError, StaleError, UsageError
from foresift.service.application import Application
from foresift.service.heavy_tasks import _check_allowed
from foresift.service.models import Held
from foresift.service.server import Server
from foresift.sources import identity
from foresift.stores.files import read_json
from foresift.wire.calls import BY_NAME
from foresift.wire.config import read_settings
from foresift.wire.messages import PromoteRequest

pytestmark = pytest.mark.timeout(240)
OTHER = {"dark": "light", "light": "dark"}


@pytest.fixture(scope="module")
def server(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "tables").mkdir()
    file = folder / "server.yml"
    file.write_text(
        "model: {name: 'mlp:8', weights: random, image_size: 16, engine: torch-f32}\n"
        "server: {protocol: grpc, port: 0, http_port: 0}\n"
        f"data: {{roots: ['{images}', tables]}}\nstorage: {{home: home}}\n"
    )
    with Server(config_path=file) as started:
        yield started


@pytest.fixture(scope="module")
def ways(server: Server) -> Iterator[tuple[Http, Grpc]]:
    http = Http(server.http_urls[0], token=None, timeout_s=120)
    other = Grpc(server.grpc_urls[0], token=None, timeout_s=120)
    yield http, other
    http.close()
    other.close()


@pytest.fixture(scope="module")
def trained(server: Server, images: Path) -> tuple[str, str]:
    """A generation that learned every class for the other one, and one that learned them right."""
    uris = sorted(map(str, images.rglob("*.png")))
    made = []
    for pool, name_of in (("wrong", OTHER.__getitem__), ("right", str)):
        with Client(server.http_urls[0], pool=pool) as client:
            client.push_data(uris, asynchronous=False)
            client.label({uri: name_of(Path(uri).parent.name) for uri in uris})
            made.append(client.train("mlp:8", recipe={"epochs": 30}).wait(timeout_s=200)["generation"])
    return made[0], made[1]


def promoted(way: Http | Grpc, generation: str, **asked: Any) -> Any:
    """The answer as its message reads it, or the refusal."""
    call = BY_NAME["Promote"]
    try:
        view = call.answer.model_validate(way.ask(call, {"generation": generation}, asked))
        return view.model_dump(mode="json")
    except ServerError as error:
        return error.status, error.kind, str(error)


def both(ways: tuple[Http, Grpc], generation: str, **asked: Any) -> Any:
    first, second = (promoted(way, generation, **asked) for way in ways)
    assert first == second
    return first


def in_use(server: Server) -> str:
    return str(read_json(server._application.folder / "in-use.json")["folder"])


def test_without_labeled_images_the_answer_says_that_nothing_was_compared(
    server: Server, ways: tuple[Http, Grpc], trained: tuple[str, str]
) -> None:
    view = both(ways, trained[0])
    assert (view["in_use"], view["forced"], view["evaluation"]) == (True, False, None)
    assert view["notes"] == ["nothing was compared: no labeled images were named"]
    bare = httpx.post(f"{server.http_urls[0]}/v1/generations/{trained[0]}/promote", timeout=60)
    assert (bare.status_code, bare.json()) == (200, view)


def test_a_better_one_is_promoted_and_a_worse_one_refused_in_the_words_of_the_command(
    server: Server, ways: tuple[Http, Grpc], trained: tuple[str, str], images: Path
) -> None:
    wrong, right = trained
    for way in ways:
        promoted(way, wrong)
        better = promoted(way, right, on=str(images), name="all")
        assert (better["in_use"], better["forced"], better["notes"]) == (True, False, [])
        assert (better["evaluation"]["name"], better["evaluation"]["n"]) == ("all", 40)
        assert better["evaluation"]["compared_with"] == wrong
        assert better["evaluation"]["low"] > 0
    before = in_use(server)
    status, kind, told = both(ways, wrong, on=str(images), name="all")
    assert (status, kind) == (409, "NotBetterError")
    assert in_use(server) == before
    home = server.base / "home"
    assert command("generations", "promote", right, home=home).code == 0
    said = command("generations", "promote", wrong, "--on", images, "--name", "all", home=home)
    assert told.endswith(said.complaint.removeprefix("foresift: "))
    assert "does not beat" in told
    assert "95 % interval" in told


def test_what_is_forced_is_recorded(
    server: Server, ways: tuple[Http, Grpc], trained: tuple[str, str], images: Path
) -> None:
    wrong, right = trained
    for way in ways:
        promoted(way, right)
        view = promoted(way, wrong, on=str(images), force=True)
        assert (view["in_use"], view["forced"]) == (True, True)
        assert view["evaluation"]["high"] < 0
        assert "does not beat" in view["problem"]
        record = read_json(server._application.folder / "in-use.json")
        assert record["forced"]
        assert record["problem"] == view["problem"]


def test_the_one_in_use_is_compared_with_nothing_and_what_spoke_for_it_is_kept(
    server: Server, ways: tuple[Http, Grpc], trained: tuple[str, str], images: Path
) -> None:
    promoted(ways[0], trained[1])
    promoted(ways[0], trained[0], on=str(images), force=True)
    kept = (server._application.folder / "in-use.json").read_bytes()
    view = both(ways, trained[0], on=str(images))
    assert (view["evaluation"], view["notes"]) == (None, ["it was in use already: nothing was compared"])
    assert both(ways, trained[0])["in_use"]
    assert (server._application.folder / "in-use.json").read_bytes() == kept


def test_another_promotion_stops_one_of_the_one_in_use(
    server: Server, ways: tuple[Http, Grpc], trained: tuple[str, str], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(ways[0], trained[0])
    model = server._application.model
    before, elsewhere = model.held(), model.folder_of(trained[1])

    def held() -> Held:
        model.promote(elsewhere, record={})
        return before

    monkeypatch.setattr(model, "held", held)
    assert promoted(ways[0], trained[0], on=str(images))[:2] == (409, StaleError.__name__)
    assert in_use(server) == str(elsewhere)


def test_what_took_the_folder_of_the_one_in_use_is_compared_with_it(images: Path, tmp_path: Path) -> None:
    workspace, folder, moved = Workspace.open(tmp_path / "home"), tmp_path / "gen", tmp_path / "moved"
    file = tmp_path / "server.yml"
    file.write_text(
        "model: {name: 'mlp:8', weights: gen, engine: torch-f32}\n"
        f"data: {{roots: ['{images}']}}\nstorage: {{home: home}}\n"
    )
    first = train(workspace, images, TrainRequest(model="mlp:8", out=folder, recipe={"epochs": 1})).generation.id
    application = Application(read_settings(file), base=tmp_path)
    try:
        assert application.model.folder() == folder
        folder.rename(moved)
        second = train(workspace, images, TrainRequest(model="mlp:4", out=folder, recipe={"epochs": 1})).generation.id
        asked = PromoteRequest(on=str(images), force=True)
        with pytest.raises(ModelError, match=f"generation {first[:12]} is gone"):
            application.promote(second, asked)
        find(workspace, moved)
        told = application.promote(second, asked).evaluation
        assert told is not None
        assert told["compared_with"] == first
        assert read_json(application.folder / "in-use.json")["evaluation"] == told
    finally:
        application.close()


def test_only_images_under_the_roots_decide(
    server: Server, ways: tuple[Http, Grpc], trained: tuple[str, str], images: Path, tmp_path: Path
) -> None:
    wrong, right = trained
    promoted(ways[0], wrong)
    assert both(ways, right, on=str(tmp_path))[0] == 403
    assert both(ways, right, on=str(images / "none"))[0] == 422
    outside = tmp_path / "outside.png"
    outside.write_bytes(next((images / "dark").iterdir()).read_bytes())
    table = server.base / "tables" / "table.csv"
    table.write_text(f"uri,label\n{outside},dark\n")
    status, kind, told = both(ways, right, on=str(table))
    assert (status, kind) == (422, "UsageError")
    assert "outside of the folders that this server may read" in told
    table.write_text(f"uri,label\n{tmp_path / 'none.png'},dark\n{next((images / 'dark').iterdir())},dark\n")
    told = both(ways, right, on=str(table))[2]
    assert "outside of the folders" in told
    assert "no such" not in told
    inside = "".join(f"{uri},{uri.parent.name}\n" for uri in sorted(images.rglob("*.png")))
    table.write_text(f"uri,label\n{inside}")
    assert promoted(ways[1], right, on=str(table))["evaluation"]["n"] == 40


def test_what_lies_outside_of_the_roots_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "a.png").write_bytes(b"secret")
    (root / "link").symlink_to(outside)

    def read(uri: str) -> None:
        raise AssertionError(f"{uri} was opened")

    monkeypatch.setattr(identity, "read", read)
    allowed = {"roots": [str(root)], "hosts": [], "allow_private": False}
    with pytest.raises(UsageError, match="outside of the folders"):
        _check_allowed(str(root), allowed)
    (root / "link").unlink()
    (root / "b.png").write_bytes(b"an image, or none")
    _check_allowed(str(root), allowed)


def test_a_server_that_knows_of_no_comparison_is_named_as_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = {"id": "0a", "architecture": "mlp:8", "classes": ["a"], "in_use": True}
    with Client("http://localhost:1") as client:
        monkeypatch.setattr(client._way, "ask", lambda *_, **__: answered)
        assert client.promote("0a").in_use
        with pytest.raises(ServerError, match="too old for on=: it promoted 0a and compared nothing"):
            client.promote("0a", on="s3://b/k", force=True)
        answered["notes"] = ["it was in use already: nothing was compared"]
        assert client.promote("0a", on="s3://b/k").notes == answered["notes"]


def test_another_promotion_meanwhile_stops_this_one(
    server: Server, ways: tuple[Http, Grpc], trained: tuple[str, str], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, right = trained
    promoted(ways[0], wrong)
    application = server._application
    elsewhere = application.model.folder_of(right)

    def compare(_: object) -> dict[str, Any]:
        application.model.promote(elsewhere, record={})
        return {"evaluation": {"n": 1}, "problem": None}

    monkeypatch.setattr(application.heavy, "compare", compare)
    status, kind, told = promoted(ways[1], right, on=str(images))
    assert (status, kind) == (409, StaleError.__name__)
    assert "promoted meanwhile" in told
