"""Studies of masks on a handful of drawn images: every cell, resumed, measured as said, reported as it is."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from commands import command
from foresift.core.errors import DataError, ForesiftError, UnknownNameError, UsageError
from foresift.studies.masks import defects, patches
from foresift.studies.masks import rounds as mask_rounds
from foresift.studies.masks.report import Comparison, page, verdicts, write
from foresift.studies.masks.rounds import Cell, Size
from foresift.studies.masks.sets import defect_shares, mask_set
from segmentation_files import write_png

TINY = Size(
    model="linknet:mobilenetv3_small_050", pool=10, start=3, step=2, rounds=2, patch=16, steps=2, batch_size=4, seeds=1
)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sets as folders: grey images of 48 x 32 px, class 1 a square whose side grows from image to image."""
    data = tmp_path_factory.mktemp("data")
    for name, split, count in ((n, s, c) for n in ("neu-seg", "camvid") for s, c in (("train", 12), ("test", 3))):
        for row in range(count):
            rng = np.random.default_rng(row + 100 * (split == "test"))
            pixels, mask = rng.integers(0, 99, (32, 48, 3), dtype=np.uint8), np.zeros((32, 48), dtype=np.uint8)
            pixels[4 : 6 + row, 4 : 6 + row] = 250
            mask[4 : 6 + row, 4 : 6 + row] = 1
            write_png(data / name / "images" / split / f"{row:02d}.png", pixels)
            write_png(data / name / "masks" / split / f"{row:02d}.png", mask)
    return data


def cell(arm: str, seed: int, *miou: float, measured: tuple[float, ...] = (), **told: object) -> Cell:
    values = {"images": (3, 5), "pixels": (30, 50), "miou": miou, "measured": measured, **told}
    return Cell(study="x", arm=arm, seed=seed, **values)  # type: ignore[arg-type]


def made(*cells: Cell, measure: str = "") -> Comparison:
    arms = tuple(dict.fromkeys(one.arm for one in cells))
    size = replace(TINY, rounds=1)
    return Comparison(
        study="x", title="X", preset="tiny", size=size, baseline="random", arms=arms, cells=cells, measure=measure,
        seconds=1.0,
    )  # fmt: skip


def test_patches_buy_the_area_of_the_images(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(patches.PRESETS, "tiny", TINY)
    only = ("entropy-images", "entropy-patches", "ua-dpp-patches")
    first = patches.run(tmp_path, preset="tiny", data=drawn, only=only)
    by = {one.arm: one for one in first.cells}
    assert list(by) == ["random-images", *only]
    assert not any(one.refused for one in first.cells)
    for one in first.cells:
        assert len(one.miou) == 3
        assert one.pixels == (3 * 1536, 5 * 1536, 7 * 1536)
    assert by["entropy-images"].images == (3, 5, 7)
    assert len({one.miou[0] for one in first.cells}) == 1
    assert all(file.stat().st_size > 500 for file in write(first, tmp_path))
    assert not list(tmp_path.glob("cells/*/*/"))

    def broken(*_: object) -> None:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(mask_rounds, "_rounds", broken)
    assert patches.run(tmp_path, preset="tiny", data=drawn, only=only).cells == first.cells


def test_small_defects_that_were_chosen_are_counted(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(defects.PRESETS, "scoring", replace(TINY, rounds=1, trained=0, pool=0))
    monkeypatch.setattr(defects, "SMALL_SHARE", 0.03)
    data = mask_set("neu-seg", drawn, cache=tmp_path)
    shares = defect_shares(data.listing, data.listing.images)
    np.testing.assert_allclose(list(shares.values()), [(2 + row) ** 2 / 1536 for row in range(12)])
    small = defects.small_defects(data, data.listing.images)
    assert {Path(image).stem for image in small} == {"00", "01", "02", "03", "04"}
    recall = defects.recall_of(small)
    rows = [{"uri": image} for image in data.listing.images]
    assert recall(rows[:1], rows[1:3]) == 2 / 4
    assert recall(rows[:5], rows[5:]) == 1
    answer = command(
        "study", "defects", "--preset", "scoring", "--data", drawn, "--out", tmp_path / "out", "--only", "mean",
        "--json", home=tmp_path,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert [one["arm"] for one in answer.json["cells"]] == ["random", "mean"]
    assert all(len(one["miou"]) == len(one["measured"]) == 1 for one in answer.json["cells"])
    assert answer.json["files"] == [str(tmp_path / "out" / "defects.md")]


def test_a_cell_without_a_result_is_tried_again(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise ForesiftError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setitem(patches.PRESETS, "tiny", TINY)
        patched.setattr(mask_rounds, "_rounds", full)
        (one,) = patches.run(tmp_path, preset="tiny", data=drawn, only=("random-images",)).cells
    assert one.refused == "the disk is full"
    assert not list(tmp_path.glob("cells/*/*.json"))


def test_what_did_not_beat_random_is_named() -> None:
    table = {"random": (0.5, 0.5, 0.5), "good": (0.6, 0.61, 0.62), "same": (0.4, 0.5, 0.61), "bad": (0.3, 0.31, 0.3)}
    cells = [cell(arm, seed, 0.2, value) for arm, values in table.items() for seed, value in enumerate(values)]
    told = verdicts(made(*cells, cell("late", 0, refused="no")))
    assert told == [
        "good beat random: +11.0 pp of mIoU, ahead in 3 of 3 seeds.",
        "same did not beat random: +0.3 pp of mIoU, ahead in 1 of 3 seeds.",
        "bad did worse than random: -19.7 pp of mIoU, ahead in 0 of 3 seeds.",
    ]
    text = page(made(*cells, cell("late", 0, refused="no")))
    assert "| `good` | 5 | 20.0 ± 0.0 | 61.0 ± 1.0 | +11.0 ± 1.2 |" in text
    assert "- `late` gave no result: no" in text
    only_found = page(made(cell("random", 0, 0.2, measured=(0.25,)), measure="recall of x"))
    assert "| `random` | 5 | 20.0 |  | 25.0 |" in only_found
    assert "random: 25.0 % recall of x (first round)." in only_found


def test_a_cell_survives_its_file() -> None:
    one = cell("a", 3, 0.25, iou=((0.1, None), (0.2, 0.3)))
    assert Cell.from_dict(json.loads(json.dumps(asdict(one)))) == one


def test_bad_requests_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="preset must be one of"):
        patches.run(tmp_path, preset="huge", data=tmp_path)
    with pytest.raises(UsageError, match="--only x: expected one of random, mean"):
        defects.run(tmp_path, only=("x",), data=tmp_path)
    with pytest.raises(DataError, match=r"neither neu-seg\.tar\.gz nor a folder"):
        defects.run(tmp_path, data=tmp_path)
    with pytest.raises(UnknownNameError, match="image set"):
        mask_set("cityscapes", tmp_path, cache=tmp_path)
