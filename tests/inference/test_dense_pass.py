"""A pass over images of many sizes: everything once, whole shards, whatever dies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foresift.core.arrays import Pixels
from foresift.core.errors import DamagedRowsError, NonFiniteError
from foresift.core.predictions import Producer
from foresift.core.protocols import StoredGrids
from foresift.inference.decode import decode
from foresift.inference.dense_pass import DenseTools, Made, run_dense_pass
from foresift.inference.shards import ImagePass
from foresift.sources import open_source
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.read import fetch
from foresift.stores.claims import FileClaims
from foresift.stores.grids import LanceGrids
from images import png

PRODUCER = Producer(model="columns", stage="test")
SIZES = [(3, 5), (8, 2), (1, 1), (7, 7), (4, 9), (2, 6)]


def column_means(pixels: Pixels) -> Made:
    height, width = pixels.shape[:2]
    return Made(height, width, pixels[..., 0].mean(axis=0).astype(np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for seed, size in enumerate(SIZES):
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        (images / f"{seed}.png").write_bytes(png(pixels))
    return images


def job_of(folder: Path, *, shard_rows: int = 2) -> ImagePass:
    pool = open_source(folder).pool(DictDigestMemory(), need_digests=True)
    digests, first = np.unique(pool.digests, return_index=True)
    return ImagePass(producer=PRODUCER, digests=digests, uris=pool.uris[first], batch=8, shard_rows=shard_rows)


def tools_of(root: Path, scorer: Callable[[Pixels], Made] = column_means) -> DenseTools:
    return DenseTools(
        fetch=fetch,
        load=decode,
        scorer=lambda: scorer,
        store=LanceGrids(root / "grids"),
        claims=lambda identity, shards: FileClaims(root / "claims" / identity, shards),
    )


def stored(root: Path, digests: np.ndarray) -> dict[str, tuple[str, list[int], list[float]]]:
    rows = {}
    for _, part in LanceGrids(root / "grids").read(PRODUCER, digests):
        for digest, reason, size, values in zip(part.digests, part.reasons, part.sizes, part.values, strict=True):
            rows[str(digest)] = (str(reason), size.tolist(), values.tolist())
    return rows


def expected(job: ImagePass) -> dict[str, tuple[str, list[int], list[float]]]:
    rows = {}
    for digest, uri in zip(job.digests.tolist(), job.uris.tolist(), strict=True):
        made = column_means(decode(fetch(uri)))
        rows[digest] = ("", [made.height, made.width], made.values.tolist())
    return rows


def test_every_image_has_its_row_and_a_second_run_infers_nothing(folder: Path, tmp_path: Path) -> None:
    job = job_of(folder)
    report = run_dense_pass(job, tools_of(tmp_path))
    assert (report.inferred, report.shards) == (6, 3)
    assert stored(tmp_path, job.digests) == expected(job)
    again = run_dense_pass(job, replace(tools_of(tmp_path), scorer=lambda: pytest.fail("weights were loaded")))
    assert again.inferred == 0


def test_rows_come_to_the_places_they_were_asked_for(folder: Path, tmp_path: Path) -> None:
    job = job_of(folder)
    run_dense_pass(job, tools_of(tmp_path))
    asked = job.digests[[4, 0, 4, 2, 5, 1]]
    places: dict[int, str] = {}
    for at, part in LanceGrids(tmp_path / "grids").read(PRODUCER, asked):
        places |= dict(zip(at.tolist(), part.digests.tolist(), strict=True))
    assert [places[i] for i in range(6)] == asked.tolist()
    with pytest.raises(KeyError):
        list(LanceGrids(tmp_path / "grids").read(PRODUCER, np.array(["unknown"])))


def test_what_dies_loses_at_most_its_shard(folder: Path, tmp_path: Path) -> None:
    job, seen = job_of(folder), []

    def dying(pixels: Pixels) -> Made:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return column_means(pixels)

    with pytest.raises(KeyboardInterrupt):
        run_dense_pass(job, tools_of(tmp_path, dying))
    assert len(LanceGrids(tmp_path / "grids").known(PRODUCER)) == 2
    assert run_dense_pass(job, tools_of(tmp_path)).inferred == 4
    assert stored(tmp_path, job.digests) == expected(job)


def test_broken_images_carry_their_reason_and_lost_ones_are_tried_again(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG no more")
    job = job_of(folder)
    told: list[str] = []
    lost = str(job.uris[2])
    data = Path(lost).read_bytes()
    Path(lost).unlink()
    tools = replace(tools_of(tmp_path), broken=lambda uri, reason: told.append(uri))
    report = run_dense_pass(job, tools)
    assert len(told) == 2
    assert list(report.unread) == [job.digests[2]]
    reasons = {reason for reason, _, _ in stored(tmp_path, np.delete(job.digests, 2)).values()}
    assert len(reasons) == 2
    Path(lost).write_bytes(data)
    assert run_dense_pass(job, tools_of(tmp_path)).inferred == 1


def test_values_that_are_not_finite_name_the_image(folder: Path, tmp_path: Path) -> None:
    def wrong(pixels: Pixels) -> Made:
        raise NonFiniteError("not finite")

    with pytest.raises(NonFiniteError, match=r"\.png: not finite"):
        run_dense_pass(job_of(folder), tools_of(tmp_path, wrong))


def test_a_flipped_bit_drops_the_row(tmp_path: Path) -> None:
    store = LanceGrids(tmp_path)
    marks = [np.array([1234.5, 1], dtype=np.float32), np.array([4321.5], dtype=np.float32)]
    digests = np.array(["a", "b"])
    rows = StoredGrids(digests=digests, reasons=np.array(["", ""]), sizes=np.ones((2, 2), dtype=np.int32), values=marks)
    store.append(PRODUCER, rows)
    for file in tmp_path.rglob("*.lance"):
        if file.is_file():
            data = file.read_bytes()
            assert data.count(np.float32(1234.5).tobytes()) == 1
            file.write_bytes(data.replace(np.float32(1234.5).tobytes(), np.float32(1234.625).tobytes()))
    store = LanceGrids(tmp_path)
    with pytest.raises(DamagedRowsError, match="1 stored"):
        list(store.read(PRODUCER, digests))
    assert store.known(PRODUCER).tolist() == ["b"]
