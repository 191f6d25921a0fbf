"""Settings may be tried on a part of the pool: nothing chooses from it, and the test part stays unread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands import command
from foresift.core.errors import DataError, UsageError
from foresift.studies.surrogates.bench_of import bench_of, digits
from foresift.studies.surrogates.benches import HeadBench, PixelBench
from foresift.studies.surrogates.dense import DenseBench
from foresift.studies.surrogates.development import RowsOf, held_out
from foresift.studies.surrogates.html import html
from foresift.studies.surrogates.protocol import Lessons, Protocol
from foresift.studies.surrogates.study import run
from foresift.studies.surrogates.text import page, summaries
from paper_sets import ade20k, imagenet

SMALL = Protocol(
    title="minute",
    models=("linear", "mlp:4"),
    strategies=("margin", "auto"),
    cycles=2,
    budget=20,
    seeds=1,
    probes=False,
    curves=False,
    recipe=Lessons(epochs=2),
)
ON_POOL = replace(SMALL, judged_on="development")


@pytest.mark.parametrize("n", [2, 10, 1_347])
def test_every_row_is_in_the_pool_or_judges(n: int) -> None:
    left, judges = held_out(n)
    assert np.array_equal(np.sort(np.concatenate([left, judges])), np.arange(n))
    assert len(judges) == max(1, round(0.2 * n))
    assert np.array_equal(held_out(n)[1], judges)


def test_rows_of_an_array_are_read_as_those_of_the_array_would_be() -> None:
    array, rows = np.arange(24).reshape(6, 2, 2), np.array([5, 0, 3])
    some, plain = RowsOf(array, rows), array[rows]
    for at in (1, slice(1, 3), np.array([2, 0])):
        assert np.array_equal(some[at], plain[at])
    assert np.array_equal(np.asarray(some), plain)
    assert (len(some), some.shape, some.nbytes) == (len(plain), plain.shape, plain.nbytes)


def test_the_pool_judges_and_the_test_part_is_not_there(tmp_path: Path) -> None:
    whole = digits()
    left, judges = held_out(len(whole.codes))
    for bench in (
        bench_of(ON_POOL, tmp_path, None),
        bench_of(replace(ON_POOL, learner="heads", backbone="resnet8", backbone_epochs=1), tmp_path, None),
    ):
        assert isinstance(bench, PixelBench | HeadBench)
        assert bench.count == len(left) == len(bench.embeddings)
        assert np.array_equal(bench.images.pixels, whole.pixels[left])
        assert np.array_equal(bench.images.codes, whole.codes[left])
        assert np.array_equal(bench.images.test_pixels, whole.pixels[judges])
        assert np.array_equal(bench.images.test_codes, whole.codes[judges])
        assert 0 < bench.teach("linear", np.arange(100), seed=0).quality <= 1


def test_masks_of_the_test_part_are_not_even_decoded(tmp_path: Path) -> None:
    ade20k(tmp_path)
    for file in (tmp_path / "ade20k" / "images" / "validation").iterdir():
        file.write_bytes(b"broken")
    dense = Protocol(learner="segmentation", images="ade20k", models=("tiny-unet:4",))
    with pytest.raises(DataError):
        bench_of(dense, tmp_path / "out", tmp_path)
    bench = bench_of(replace(dense, judged_on="development"), tmp_path / "out", tmp_path)
    assert isinstance(bench, DenseBench)
    assert (bench.count, len(bench.test.pixels)) == (13, 3)
    assert 0 <= bench.teach("tiny-unet:4", np.arange(4), seed=0).quality <= 1


def test_folders_on_disk_are_split_too(tmp_path: Path) -> None:
    imagenet(tmp_path)
    one = replace(ON_POOL, images="imagenet", side=16, models=("cnn:4",), budget=6, backbone="resnet8")
    for file in (tmp_path / "imagenet" / "val").rglob("*.JPEG"):
        file.write_bytes(b"broken")
    (table,) = run(tmp_path / "out", [replace(one, backbone_epochs=1)], name="x", data=tmp_path).tables
    assert table.pool == 19


def test_cells_of_other_images_are_not_taken_for_these(tmp_path: Path) -> None:
    imagenet(tmp_path)
    one = replace(SMALL, images="imagenet", side=8, models=("linear",), strategies=("margin",), budget=6)
    assert run(tmp_path / "out", [one], name="x", data=tmp_path).tables[0].trained
    assert not run(tmp_path / "out", [one], name="x", data=tmp_path).tables[0].trained
    first = min((tmp_path / "imagenet" / "train").rglob("*.JPEG"))
    first.write_bytes(max(first.parent.parent.rglob("*.JPEG")).read_bytes())
    assert run(tmp_path / "out", [one], name="x", data=tmp_path).tables[0].trained


def test_a_trial_is_told_apart_and_leaves_the_study_alone(tmp_path: Path) -> None:
    assert "judged_on" not in SMALL.same_training(), "what was trained before stays valid"
    whole = run(tmp_path, [SMALL], name="x")
    trial = run(tmp_path, [ON_POOL], name="x")
    assert trial.tables[0].trained == whole.tables[0].trained, "nothing is shared between the two"
    assert run(tmp_path, [SMALL], name="x").tables[0].trained == 0
    assert [summaries(made)[0]["judged_on"] for made in (whole, trial)] == ["test", "development"]
    for made, told in ((whole, "on the test part"), (trial, "on a development part held out of the pool")):
        assert told in page(made, pictures=["x.png"])
        assert told in html(made)


def test_another_part_is_refused() -> None:
    with pytest.raises(UsageError, match="judged_on must be one of test, development, got 'train'"):
        replace(SMALL, judged_on="train")


def test_the_command_says_which_part_judges(tmp_path: Path) -> None:
    config = tmp_path / "trial.yml"
    config.write_text(
        "judged_on: development\nfirst_seed: 100\nseeds: 1\nmodels: [linear]\nrecipe: {epochs: 1}\nprobes: false\n"
    )
    answer = command("study", "surrogates", config, "--estimate", "--out", tmp_path / "out", home=tmp_path)
    assert answer.code == 0
    assert "judged on a development part held out of the pool, not on the test part" in answer.err
