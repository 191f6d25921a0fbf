"""The streaming pass over real files, a real store and real locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import scoring_pass
from foresift.core.arrays import Pixels
from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, ForesiftError, NonFiniteError, QuarantineError, ShortMemoryError
from foresift.core.protocols import Outputs
from foresift.inference.pipeline import ForwardPass, check_job
from foresift.sources.read import fetch
from foresift.stores.predictions import LanceStore
from images import png
from scoring_pass import (
    PRODUCER,
    SIZE,
    ExactEngine,
    job_of,
    pool_of,
    same,
    score,
    stored,
    tools_of,
    watched,
    write_images,
)

pytestmark = pytest.mark.timeout(600)
SCRIPT = Path(scoring_pass.__file__)
WAIT_S = 120


class Counted:
    """A function that counts its calls, from any thread."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function, self._lock, self.calls = function, threading.Lock(), 0

    def __call__(self, *args: object) -> object:
        with self._lock:
            self.calls += 1
        return self._function(*args)


def process(folder: Path, root: Path, *what: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(folder), str(root), *map(str, what)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(running: subprocess.Popen[str]) -> int:
    out, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, err
    return int(out)


# ---- what is inferred, and what is not -----------------------------------------------------


def test_every_image_is_inferred_once_and_a_second_pass_touches_nothing(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 37)
    report = score(images, tmp_path)
    assert (report.inferred, report.shards, report.unread) == (37, 3, {})
    engine, counted_fetch = Counted(ExactEngine), Counted(fetch)
    again = score(images, tmp_path, engine=engine, fetch=counted_fetch)
    assert (again.inferred, again.batches, engine.calls, counted_fetch.calls) == (0, 0, 0, 0)


def test_rows_are_what_the_engine_says_of_the_pixels(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 5)
    score(images, tmp_path)
    tools, pool = tools_of(tmp_path), pool_of(images)
    pixels = np.stack([tools.load(fetch(uri)) for uri in pool.uris.tolist()])
    expected, rows = ExactEngine()(pixels), stored(images, tmp_path)
    np.testing.assert_array_equal(rows.logits, expected.logits)
    np.testing.assert_array_equal(rows.embeddings, expected.embeddings)
    assert rows.digests.tolist() == pool.digests.tolist()


def test_a_new_image_costs_one_image(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 40)
    score(images, tmp_path)
    before = stored(images, tmp_path)
    write_images(images, 41)
    counted = Counted(fetch)
    assert score(images, tmp_path, fetch=counted).inferred == 1
    assert counted.calls == 1
    after, old = stored(images, tmp_path), np.isin(pool_of(images).digests, before.digests)
    assert after.logits is not None
    assert before.logits is not None
    np.testing.assert_array_equal(after.logits[old], before.logits)


def test_the_engine_sees_whole_batches_only(tmp_path: Path) -> None:
    sizes = []

    class Sizes(ExactEngine):
        def __call__(self, batch: Pixels) -> Outputs:
            sizes.append(batch.shape)
            return super().__call__(batch)

    score(write_images(tmp_path / "images", 22), tmp_path, engine=Sizes)
    assert set(sizes) == {(4, SIZE, SIZE, 3)}
    assert len(sizes) == 4 + 2  # 16 and 6 rows: no batch crosses shards


@pytest.mark.parametrize("cpus", [1, 3, 9])
def test_results_do_not_depend_on_the_number_of_workers(
    cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", 50)
    score(images, tmp_path / "default")
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    score(images, tmp_path / "other")
    assert same(stored(images, tmp_path / "default"), stored(images, tmp_path / "other"))


def test_digests_of_a_pass_ascend() -> None:
    uris = np.array(["x", "y"])
    for digests in (["b", "a"], ["a", "a"]):
        job = ForwardPass(producer=PRODUCER, digests=np.array(digests), uris=uris, batch=1, size=8)
        with pytest.raises(ForesiftError, match="ascending and distinct"):
            check_job(job)
    check_job(ForwardPass(producer=PRODUCER, digests=np.array(["a", "b"]), uris=uris, batch=1, size=8))


# ---- stages --------------------------------------------------------------------------------


def test_memory_is_bounded_while_decoding_runs_ahead(tmp_path: Path) -> None:
    """At most workers + 2 batches are alive, however slow the engine is."""
    workers, batch = max(2, os.cpu_count() or 1), 4
    limit = (workers + 2) * batch
    changed, state = threading.Condition(), {"fetched": 0, "inferred": 0, "most": 0}

    def counted(uri: str) -> bytes:
        with changed:
            state["fetched"] += 1
            state["most"] = max(state["most"], state["fetched"] - state["inferred"])
            changed.notify_all()
        return fetch(uri)

    class Slow(ExactEngine):
        def __call__(self, pixels: Pixels) -> Outputs:
            with changed:
                if not state["inferred"]:
                    assert changed.wait_for(lambda: state["fetched"] >= limit, WAIT_S)
                    changed.wait_for(lambda: state["fetched"] > limit, 0.3)  # must not come
                state["inferred"] += batch
            return super().__call__(pixels)

    score(write_images(tmp_path / "images", limit * 4), tmp_path, fetch=counted, engine=Slow)
    assert state["most"] == limit


def test_images_are_decoded_while_the_engine_runs(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 12)
    first_batch = set(pool_of(images).digests[:4].tolist())
    running, decoding, tools = threading.Event(), threading.Event(), tools_of(tmp_path)

    def late(data: bytes) -> Pixels:
        if digest_bytes(data) not in first_batch:  # that one is needed to start the engine
            assert running.wait(WAIT_S)
            decoding.set()
        return tools.load(data)

    def wait_for_decoding(call: int) -> None:
        running.set()
        assert decoding.wait(WAIT_S)

    score(images, tmp_path, load=late, engine=watched(wait_for_decoding))


def test_batches_are_decoded_in_parallel(tmp_path: Path) -> None:
    tools, meeting, met = tools_of(tmp_path), threading.Barrier(2), threading.Event()

    def together(data: bytes) -> Pixels:
        if not met.is_set():
            meeting.wait(WAIT_S)
            met.set()
        return tools.load(data)

    assert score(write_images(tmp_path / "images", 16), tmp_path, load=together).inferred == 16
    assert met.is_set()


def test_an_error_ends_the_pass_and_no_thread_stays(tmp_path: Path) -> None:
    before = threading.active_count()

    def broken_program(data: bytes) -> Pixels:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score(write_images(tmp_path / "images", 30), tmp_path, load=broken_program)
    assert threading.active_count() == before


# ---- images that can't be used -------------------------------------------------------------


def test_a_broken_image_is_stored_with_its_reason_and_not_read_again(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 6)
    (images / "broken.png").write_bytes(png()[:60])
    told: list[tuple[str, str]] = []
    report = score(images, tmp_path, broken=lambda uri, reason: told.append((uri, reason)))
    rows = stored(images, tmp_path)
    assert report.inferred == 6
    assert [uri for uri, _ in told] == [str(images / "broken.png")]
    assert max(rows.reasons.tolist()) == told[0][1]
    assert rows.logits is not None
    assert not rows.logits[rows.reasons != ""].any()
    assert (rows.reasons == "").sum() == 6
    counted = Counted(fetch)
    assert score(images, tmp_path, fetch=counted).inferred == counted.calls == 0


def test_an_image_that_found_no_memory_is_reported_and_tried_again(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 6)
    short = (images / "0002.png").read_bytes()

    def scarce(data: bytes) -> Pixels:
        if data == short:
            raise ShortMemoryError("too large for the memory that is free now")
        return tools_of(tmp_path).load(data)

    told: list[str] = []
    report = score(images, tmp_path, load=scarce, broken=lambda uri, reason: told.append(f"{uri}: {reason}"))
    assert report.inferred == 5
    assert told == [f"{images / '0002.png'}: too large for the memory that is free now"]
    assert list(report.unread) == [digest_bytes(short)]
    again = score(images, tmp_path)
    assert (again.inferred, again.unread) == (1, {})
    assert (stored(images, tmp_path).reasons == "").all()


def test_broken_may_stop_the_pass(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 3)
    (images / "broken.png").write_bytes(b"no image")

    def refuse(uri: str, reason: str) -> None:
        raise QuarantineError(uri)

    with pytest.raises(QuarantineError, match=r"broken\.png"):
        score(images, tmp_path, broken=refuse)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(Path.unlink, "no such file"), (lambda path: path.write_bytes(png(seed=99)), "changed while the pool was")],
)
def test_what_vanishes_or_changes_after_the_listing_is_reported_and_tried_again(
    harm: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    images = write_images(tmp_path / "images", 9)
    pool, victim = pool_of(images), images / "0004.png"
    whole = victim.read_bytes()
    harm(victim)
    report = scoring_pass.run_pass(job_of(pool), tools_of(tmp_path))
    assert report.inferred == 8
    assert [reason in said for said in report.unread.values()] == [True]
    assert not np.isin(list(report.unread), LanceStore(tmp_path / "predictions").known(PRODUCER)).any()
    victim.write_bytes(whole)
    assert scoring_pass.run_pass(job_of(pool), tools_of(tmp_path)).inferred == 1


def test_a_shard_of_nothing_but_vanished_images_is_no_row_and_no_error(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 3)
    pool = pool_of(images)

    def gone(uri: str) -> bytes:
        raise DataError("gone")

    report = scoring_pass.run_pass(job_of(pool), tools_of(tmp_path, fetch=gone))
    assert len(report.unread) == 3
    assert scoring_pass.run_pass(job_of(pool), tools_of(tmp_path)).inferred == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["logits", "embeddings"])
def test_a_number_that_is_not_finite_names_the_image_and_leaves_no_row_of_its_shard(
    name: str, value: float, tmp_path: Path
) -> None:
    images = write_images(tmp_path / "images", 40)
    pool = pool_of(images)
    victim = 21  # in the second shard of 16
    tools = tools_of(tmp_path)
    target = tools.load(fetch(str(pool.uris[victim])))

    class Sick(ExactEngine):
        def __call__(self, batch: Pixels) -> Outputs:
            outputs = super().__call__(batch)
            getattr(outputs, name)[(batch == target).all(axis=(1, 2, 3)), 1] = value
            return outputs

    with pytest.raises(NonFiniteError, match=f"{name} that are not finite for {pool.uris[victim]}"):
        score(images, tmp_path, engine=Sick)
    assert sorted(LanceStore(tmp_path / "predictions").known(PRODUCER)) == pool.digests[:16].tolist()
    assert score(images, tmp_path).inferred == 40 - 16


def test_what_the_engine_says_of_padding_and_broken_images_is_ignored(tmp_path: Path) -> None:
    class AllergicToBlack(ExactEngine):
        def __call__(self, batch: Pixels) -> Outputs:
            outputs = super().__call__(batch)
            black = ~batch.any(axis=(1, 2, 3))
            assert black.any()
            outputs.logits[black] = outputs.embeddings[black] = np.nan
            return outputs

    images = write_images(tmp_path / "images", 2)
    (images / "broken.png").write_bytes(b"no image")
    assert score(images, tmp_path, engine=AllergicToBlack).inferred == 2
    assert np.isfinite(stored(images, tmp_path).logits).all()


# ---- kills, and several processes ----------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "moment", "inferred"),
    [("kill-at-call", 1, 0), ("kill-at-call", 7, 24), ("kill-after-append", 1, 16), ("kill-after-append", 3, 48)],
)
def test_kill_9_costs_at_most_a_shard_and_leaves_the_same_bytes(
    what: str, moment: int, inferred: int, tmp_path: Path
) -> None:
    images = write_images(tmp_path / "images", 70)  # 18 batches in 5 shards of 16
    score(images, tmp_path / "whole")
    running = process(images, tmp_path, what, moment)
    _, err = running.communicate(timeout=WAIT_S)
    assert running.returncode == -signal.SIGKILL, err
    again = score(images, tmp_path).inferred
    assert inferred + again - 70 <= (16 if what == "kill-at-call" else 0)
    assert same(stored(images, tmp_path / "whole"), stored(images, tmp_path))


@pytest.mark.parametrize("n", [32, 70])
def test_two_processes_share_the_shards_and_infer_every_image_once(n: int, tmp_path: Path) -> None:
    """Each holds a shard that the other will wait for; the pipe makes sure of it."""
    images = write_images(tmp_path / "images", n)
    score(images, tmp_path / "alone")
    fifo = tmp_path / "meet"
    os.mkfifo(fifo)
    both = [process(images, tmp_path / "shared", "meet", fifo, mode) for mode in "rw"]
    done = [answer(running) for running in both]
    assert sum(done) == n
    assert min(done) > 0
    assert same(stored(images, tmp_path / "alone"), stored(images, tmp_path / "shared"))


def test_what_a_killed_process_held_is_done_by_the_one_that_waits(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 40)
    fifo = tmp_path / "meet"
    os.mkfifo(fifo)
    stuck = process(images, tmp_path, "meet", fifo, "r")
    with fifo.open("wb"):  # it has begun: it holds its first shard
        pass
    stuck.kill()
    stuck.communicate()
    known = len(LanceStore(tmp_path / "predictions").known(PRODUCER))
    assert answer(process(images, tmp_path, "run")) == 40 - known
