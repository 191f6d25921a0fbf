"""Work that is shared among processes: the same bytes as without, whatever happens to one of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.app.models.served_model import served_model
from foresift.app.passes import sharing
from foresift.app.passes.crews import crew_of
from foresift.app.passes.predicting import Predicted, predict
from foresift.app.passes.sharing import piece_rows
from foresift.app.passes.stored import PassOptions
from foresift.app.workspace import Workspace
from foresift.core.errors import ModelError
from foresift.core.protocols import Progress, Silent
from foresift.executors import Crew, LocalCrew
from foresift.executors.crew import Answer
from foresift.inference.pipeline import ForwardRunner
from foresift.sources import remote
from foresift.sources.remote import Limits, Remote
from images import png
from replicas import worker_pids
from web_server import WebServer

pytestmark = pytest.mark.timeout(180)
IMAGES = 90


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {f"{n:03d}.png": png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for n in range(IMAGES)}
    return {**files, "broken.png": b"no image", "twin.png": files["007.png"]}


@pytest.fixture(scope="module")
def folder(pictures: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    for name, data in pictures.items():
        (path / name).write_bytes(data)
    return path


@pytest.fixture(scope="module")
def two() -> Iterator[Crew]:
    with crew_of(2) as crew:
        assert crew is not None
        yield crew


def seen(
    pool: Path, home: Path, crew: Crew | None, *, model: str = "mlp:8", size: int = 16, progress: Progress | None = None
) -> Predicted:
    workspace = Workspace.open(home)
    scored_by = served_model(workspace, model, "random", base=home, image_size=size, classes=("a", "b", "c"))
    return predict(
        workspace,
        pool,
        scored_by,
        options=PassOptions(engine="torch-f32", batch=8, crew=crew, progress=progress or Silent()),
    )


def same(first: Predicted, second: Predicted) -> bool:
    a, b = first.result.predictions, second.result.predictions
    return (
        a.sample_ids.tolist() == b.sample_ids.tolist() and a.column("logits").tobytes() == b.column("logits").tobytes()
    )


@pytest.mark.parametrize("model", ["mlp:8", "resnet8"])
def test_two_replicas_give_the_bytes_of_one_process(
    folder: Path, tmp_path: Path, two: Crew, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = seen(folder, tmp_path / "alone", None, model=model)
    pieces: list[int] = []
    keep = sharing._keep
    monkeypatch.setattr(sharing, "_keep", lambda *given: (pieces.append(given[2]["inferred"]), keep(*given))[1])
    monkeypatch.setattr(ForwardRunner, "_consume", lambda *_: pytest.fail("inferred by the asking process"))
    shared = seen(folder, tmp_path / "shared", two, model=model)
    assert same(alone, shared)
    assert shared.result.report.inferred == IMAGES == sum(pieces)
    assert len(pieces) > 2
    assert len(worker_pids()) == 2
    assert [one.reason for one in shared.result.quarantined] == [one.reason for one in alone.result.quarantined]
    assert seen(folder, tmp_path / "shared", two, model=model).result.report.inferred == 0


def test_the_same_weights_at_another_image_size_are_another_model_to_a_worker(
    folder: Path, tmp_path: Path, two: Crew
) -> None:
    for size in (16, 24):
        shared = seen(folder, tmp_path / "shared", two, model="resnet8", size=size)
        assert same(seen(folder, tmp_path / "alone", None, model="resnet8", size=size), shared)


def test_a_replica_that_is_killed_loses_nothing(
    folder: Path, tmp_path: Path, two: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, killed = seen(folder, tmp_path / "alone", None), []
    keep = sharing._keep

    def and_kill(*given: object) -> None:
        keep(*given)  # type: ignore[arg-type]
        living = [pid for pid in worker_pids() if pid not in killed]  # none while the last one is being replaced
        if living and len(killed) < 3:
            killed.append(living[0])
            os.kill(killed[-1], signal.SIGKILL)

    monkeypatch.setattr(sharing, "_keep", and_kill)
    assert same(alone, seen(folder, tmp_path / "shared", two))
    assert killed


def test_a_pass_that_was_cut_off_goes_on_with_what_is_missing(folder: Path, tmp_path: Path, two: Crew) -> None:
    class Full(BaseException):
        pass

    alone, keep, kept = seen(folder, tmp_path / "alone", None), sharing._keep, []

    def then_fail(*given: object) -> None:
        keep(*given)  # type: ignore[arg-type]
        kept.append(given)
        if len(kept) == 3:
            raise Full

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "_keep", then_fail)
        with pytest.raises(Full):
            seen(folder, tmp_path / "shared", two)
    again = seen(folder, tmp_path / "shared", two)
    assert same(alone, again)
    assert 0 < again.result.report.inferred < IMAGES


def test_what_no_worker_can_read_is_read_here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "link", lambda uri: uri + ".elsewhere")
    with crew_of(2) as crew:
        assert same(seen(folder, tmp_path / "alone", None), seen(folder, tmp_path / "shared", crew))


def test_a_worker_of_another_kind_is_refused(
    folder: Path, tmp_path: Path, two: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "decoder_version", lambda: "another")
    with pytest.raises(ModelError, match="would give other rows"):
        seen(folder, tmp_path / "shared", two)


class Cancelled(BaseException):
    pass


class Stopping(Silent):
    """Raises when it is asked a second time in a stage, as the progress of a cancelled job does."""

    def start(self, task: str, total: int) -> None:
        self.task, self.asked = task, 0

    def advance(self, units: int) -> None:
        self.asked += self.task == "inferring"
        if self.asked > 1:
            raise Cancelled


def test_a_cancel_does_not_wait_for_a_piece(folder: Path, tmp_path: Path) -> None:
    class Never(LocalCrew):
        """Its workers sleep."""

        def share(self, task: str, items: Iterable[Mapping[str, Any]], **more: Any) -> Iterator[Answer]:
            return super().share("square", ({"value": 1, "for_s": 30} for _ in items), **more)

    tasks = Path(__file__).parents[2] / "executors" / "crew_tasks.py"
    with Never([sys.executable, str(tasks)], 2) as crew, pytest.raises(Cancelled):
        seen(folder, tmp_path, crew, progress=Stopping())


@pytest.fixture
def web(pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    made = Remote(limits=Limits(pause_s=0.01, timeout_s=2, tries=2, at_once=8))
    monkeypatch.setattr(remote, "_made", [made])
    server = WebServer(pictures)
    server.start()
    yield server
    server.stop()
    made.close()


def manifest(path: Path, uris: Sequence[str]) -> Path:
    path.write_text("uri\n" + "\n".join(uris) + "\n")
    return path


def test_replicas_share_the_downloads_too_and_each_object_comes_once(
    web: WebServer, folder: Path, tmp_path: Path, two: Crew
) -> None:
    far = manifest(tmp_path / "far.csv", [*web.urls, f"{web.url}/gone.png"])
    alone, shared = seen(far, tmp_path / "alone", None), seen(far, tmp_path / "shared", two)
    assert same(alone, shared)
    assert set(web.bodies.values()) == {2}  # once for each of both
    assert shared.result.report.inferred >= IMAGES
    assert list(shared.result.quarantined) == list(alone.result.quarantined)
    asked = len(web.asked)
    assert seen(far, tmp_path / "shared", two).result.report.inferred == 0
    assert {method for method, _ in web.asked[asked:]} <= {"HEAD", "GET"}
    assert set(web.bodies.values()) == {2}


def test_a_replica_killed_in_the_middle_of_its_downloads_loses_nothing(
    web: WebServer, tmp_path: Path, two: Crew
) -> None:
    far = manifest(tmp_path / "far.csv", web.urls)
    alone = seen(far, tmp_path / "alone", None)
    web.delay_s, over = 0.05, threading.Event()

    def kill_one() -> None:
        while not over.wait(0.05):
            if len(web.asked) > IMAGES + 30 and (found := worker_pids()):
                os.kill(found[0], signal.SIGKILL)
                return

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        shared = seen(far, tmp_path / "shared", two)
    finally:
        over.set()
        thread.join()
    assert same(alone, shared)


def test_signed_links_reach_the_workers_and_no_store(web: WebServer, tmp_path: Path, two: Crew) -> None:
    far = manifest(tmp_path / "far.csv", [f"{url}?X-Amz-Signature=secret" for url in web.urls])
    shared = seen(far, tmp_path / "shared", two)
    assert len(shared.result.predictions) == IMAGES
    assert all(path.endswith("?X-Amz-Signature=secret") for _, path in web.asked)
    assert not any("secret" in uri for uri in shared.result.predictions.uris.tolist())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("left", "workers", "batch", "expected"),
    [(90, 2, 8, 24), (10_000, 2, 128, 1024), (10_000, 2, 100, 1000), (3, 2, 32, 32), (5_000, 2, 2048, 2048)],
)
def test_pieces_are_whole_batches_of_what_is_left(left: int, workers: int, batch: int, expected: int) -> None:
    assert piece_rows(left, workers, batch) == expected


@given(rows=st.integers(1, 20_000), workers=st.integers(1, 9), batch=st.integers(1, 300))
def test_workers_of_one_speed_end_within_a_batch_of_each_other(rows: int, workers: int, batch: int) -> None:
    ends, left = [0] * workers, rows
    while left:
        piece = min(left, piece_rows(left, workers, batch))
        ends[int(np.argmin(ends))] += piece
        left -= piece
    assert max(ends) - min(ends) <= batch
