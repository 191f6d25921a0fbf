"""Images that come one by one: the same rows as a pass over files, in batches that follow from the order alone."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, NonFiniteError
from foresift.core.protocols import Outputs
from foresift.core.samples import Pool
from foresift.inference.arriving import ArrivingPass
from foresift.sources.read import fetch
from scoring_pass import PRODUCER, ExactEngine, job_of, pool_of, score, stored, tools_of, write_images

pytestmark = pytest.mark.timeout(600)


def arrive(root: Path, pool: Pool, *, data: bool = True, **tools: object) -> ArrivingPass:
    made = ArrivingPass(job_of(pool), tools_of(root, **tools))
    with made:
        for uri, digest in sorted(zip(pool.uris.tolist(), pool.digests.tolist(), strict=True)):
            made.add(uri, digest, fetch(uri) if data else None)
    return made


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("count", [1, 3, 4, 15, 16, 17, 37])
def test_rows_are_those_of_a_pass_over_files(count: int, data: bool, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", count)
    made = arrive(tmp_path / "a", pool_of(images), data=data)
    score(images, tmp_path / "b")
    one, other = stored(images, tmp_path / "a"), stored(images, tmp_path / "b")
    np.testing.assert_array_equal(one.logits, other.logits)
    np.testing.assert_array_equal(one.embeddings, other.embeddings)
    assert (made.report.inferred, made.report.shards) == (count, -(-count // 16))


def test_what_is_stored_is_not_inferred_again(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 20)
    arrive(tmp_path, pool_of(images))
    again = arrive(tmp_path, pool_of(images))
    assert (again.report.inferred, again.report.batches) == (0, 0)
    assert score(images, tmp_path).inferred == 0


def test_a_rerun_puts_what_is_missing_into_the_batches_of_before(tmp_path: Path) -> None:
    """The second shard is lost to an error; a rerun's batches are those that an undisturbed pass has."""
    images = write_images(tmp_path / "images", 40)
    pool = pool_of(images)
    whole: list[bytes] = []
    arrive(tmp_path / "whole", pool, engine=lambda: _Keeping(whole))

    first: list[bytes] = []
    with pytest.raises(NonFiniteError):
        arrive(tmp_path / "twice", pool, engine=lambda: _Keeping(first, fail_at=6))
    second: list[bytes] = []
    arrive(tmp_path / "twice", pool, engine=lambda: _Keeping(second))
    assert first[:4] + second == whole


class _Keeping(ExactEngine):
    """Keeps what it sees."""

    def __init__(self, seen: list[bytes], *, fail_at: int = -1) -> None:
        super().__init__()
        self._seen, self._fail_at = seen, fail_at

    def __call__(self, batch: Pixels) -> Outputs:
        self._seen.append(batch.tobytes())
        outputs = super().__call__(batch)
        if len(self._seen) == self._fail_at:
            outputs.logits[:] = np.nan
        return outputs


def test_an_error_of_the_engine_reaches_who_adds_and_nothing_hangs(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 60)

    class Broken(ExactEngine):
        def __call__(self, batch: Pixels) -> Outputs:
            raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        arrive(tmp_path, pool_of(images), engine=Broken)
    assert threading.active_count() < 20


def test_an_error_of_who_adds_keeps_whole_shards_only(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 40)
    pool = pool_of(images)
    made = ArrivingPass(job_of(pool), tools_of(tmp_path))

    def interrupted() -> None:
        with made:
            for uri, digest in zip(pool.uris.tolist()[:30], pool.digests.tolist()[:30], strict=True):
                made.add(uri, digest, None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(tools_of(tmp_path).store.known(PRODUCER)) in (0, 16)


def test_adding_waits_while_the_engine_is_busy(tmp_path: Path) -> None:
    """Memory does not grow with the pool: while the engine stands still, only a few batches are taken."""
    images = write_images(tmp_path / "images", 200)
    pool, gate = pool_of(images), threading.Event()

    class Stalled(ExactEngine):
        def __call__(self, batch: Pixels) -> Outputs:
            gate.wait(20)
            return super().__call__(batch)

    made, added = ArrivingPass(job_of(pool), tools_of(tmp_path, engine=Stalled)), []

    def feed() -> None:
        with made:
            for uri, digest in zip(pool.uris.tolist(), pool.digests.tolist(), strict=True):
                made.add(uri, digest, None)
                added.append(uri)

    feeder = threading.Thread(target=feed)
    feeder.start()
    while True:  # until it stands still
        before = len(added)
        feeder.join(0.3)
        if len(added) == before and before:
            break
    held = len(added)
    gate.set()
    feeder.join()
    assert held < 80
    assert made.report.inferred == 200


def test_bytes_that_changed_on_the_way_are_left_for_another_look(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 5)
    pool = pool_of(images)
    made = ArrivingPass(job_of(pool), tools_of(tmp_path))
    with made:
        for row, (uri, digest) in enumerate(zip(pool.uris.tolist(), pool.digests.tolist(), strict=True)):
            made.add(uri, digest, b"other" if row == 2 else None)
    assert list(made.report.unread) == [pool.digests[2]]
    assert len(tools_of(tmp_path).store.known(PRODUCER)) == 4
