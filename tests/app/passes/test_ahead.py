"""Pools behind a real HTTP server: inferred as they come, with the rows and ids of the same files on a disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foresift.app.models.served_model import served_model
from foresift.app.passes.predicting import predict
from foresift.app.passes.stored import PassOptions
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request
from foresift.app.workspace import Workspace
from foresift.core.errors import QuarantineError, UnreachableError
from foresift.inference.pipeline import ForwardRunner
from foresift.sources import remote
from foresift.sources.remote import Limits, Remote
from images import png
from web_server import WebServer

pytestmark = pytest.mark.timeout(120)
OPTIONS = PassOptions(engine="torch-f32", batch=8)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    rng = np.random.default_rng(0)
    files = {f"{n:02d}.png": png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for n in range(40)}
    made = Remote(limits=Limits(pause_s=0.01, timeout_s=1, tries=2, at_once=8))
    monkeypatch.setattr(remote, "_made", [made])
    server = WebServer({**files, "twin.png": files["07.png"]})
    server.start()
    yield server
    server.stop()
    made.close()


def opened(folder: Path) -> tuple[Workspace, Path]:
    workspace = Workspace.open(folder)
    model = served_model(workspace, "mlp:8", "random", base=folder, image_size=16, classes=("a", "b", "c"))
    return workspace, model


def manifest(path: Path, uris: list[str]) -> Path:
    path.write_text("uri\n" + "\n".join(uris) + "\n")
    return path


def test_rows_and_ids_are_those_of_the_same_files_on_a_disk(web: WebServer, tmp_path: Path) -> None:
    for name, data in web.files.items():
        (tmp_path / name).write_bytes(data)
    far, near = manifest(tmp_path / "far.csv", web.urls), manifest(tmp_path / "near.csv", sorted(web.files))
    request = Request(strategy="margin", budget=7, options=OPTIONS)
    answers = []
    for pool, home in ((far, "a"), (near, "b")):
        workspace, model = opened(tmp_path / home)
        seen = predict(workspace, pool, model, options=OPTIONS)
        ids = select_from_pool(workspace, pool, request, model=model).selection.sample_ids
        answers.append((seen.result.predictions, ids.tolist()))
        assert seen.result.report.inferred == 40
    assert answers[0][1] == answers[1][1]
    assert answers[0][0].sample_ids.tolist() == answers[1][0].sample_ids.tolist()
    np.testing.assert_allclose(answers[0][0].column("logits"), answers[1][0].column("logits"), rtol=1e-5)


@pytest.mark.parametrize("engine", ["torch-f32", "auto"])
def test_everything_is_inferred_while_it_comes_and_nothing_twice(
    web: WebServer, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, (workspace, model) = manifest(tmp_path / "far.csv", web.urls), opened(tmp_path / "home")
    options = PassOptions(engine=engine)
    assert predict(workspace, far, model, options=options).result.report.inferred == 40
    assert set(web.bodies.values()) == {1}
    monkeypatch.setattr(ForwardRunner, "_consume", lambda *_: pytest.fail("inferred again"))
    assert predict(workspace, far, model, options=options).result.report.inferred == 0
    assert set(web.bodies.values()) == {1}


def test_another_model_finds_the_bytes_in_the_spool(web: WebServer, tmp_path: Path) -> None:
    far, (workspace, model) = manifest(tmp_path / "far.csv", web.urls), opened(tmp_path / "home")
    predict(workspace, far, model, options=OPTIONS)
    other = served_model(workspace, "mlp:16", "random", base=tmp_path, image_size=16, classes=("a", "b", "c"))
    assert predict(workspace, far, other, options=OPTIONS).result.report.inferred == 40
    assert set(web.bodies.values()) == {1}


def test_a_run_that_a_dead_host_ended_goes_on_to_the_same_bytes(web: WebServer, tmp_path: Path) -> None:
    far = manifest(tmp_path / "far.csv", web.urls)
    workspace, model = opened(tmp_path / "whole")
    whole = predict(workspace, far, model, options=OPTIONS).result.predictions
    workspace, model = opened(tmp_path / "twice")
    web.faults = {f"{n:02d}.png": ["always", "503"] for n in range(15, 40)}
    with pytest.raises(UnreachableError, match="is down"):
        predict(workspace, far, model, options=OPTIONS)
    web.faults = {}
    again = predict(workspace, far, model, options=OPTIONS).result.predictions
    assert again.column("logits").tobytes() == whole.column("logits").tobytes()


def test_what_can_not_be_had_or_decoded_is_quarantined_with_its_reason(web: WebServer, tmp_path: Path) -> None:
    web.faults["03.png"] = ["always", "404"]
    web.files["04.png"] = b"no image"
    far, (workspace, model) = manifest(tmp_path / "far.csv", web.urls), opened(tmp_path / "home")
    found = predict(workspace, far, model, options=OPTIONS).result
    reasons = {one.uri[-6:]: one.reason for one in found.quarantined}
    assert set(reasons) == {"03.png", "04.png"}
    assert reasons["03.png"] == "no such object (HTTP 404)"
    assert len(found.predictions) == 38
    with pytest.raises(QuarantineError):
        predict(workspace, far, model, options=PassOptions(engine="torch-f32", batch=8, strict=True))
