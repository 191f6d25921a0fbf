"""From unlabeled images to a backbone, embeddings, first labels and a model; and what a backbone refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import command
from foresift.app.models import backbones
from foresift.app.passes.embed_request import EmbedRequest
from foresift.app.passes.embedding import embed
from foresift.app.passes.stored import PassOptions
from foresift.app.pools import open_pool
from foresift.app.training.images import random_square, unlabeled_images
from foresift.app.workspace import Workspace
from foresift.core.errors import ModelError, UsageError
from foresift.core.generations import Transform
from foresift.core.protocols import Silent
from foresift.models import build
from foresift.stores.generations import read_generation
from foresift.stores.tables import read_predictions

TRAIN = ("--train", "simclr", "--epochs", 2)


def filled_in(selections: list[Path], target: Path) -> Path:
    """The labels that a person would give: file names begin with the digit."""
    rows = [row for path in selections for row in csv.DictReader(path.read_text().splitlines())]
    with target.open("w") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({**row, "label": Path(row["uri"]).name[0]} for row in rows)
    return target


def test_from_no_label_to_a_model(pool: Path, home: Path, tmp_path: Path) -> None:
    backbone, out = tmp_path / "backbone", tmp_path / "e.parquet"
    first = command("embed", pool, *TRAIN, "--save", backbone, "--out", out, "--json", home=home).json
    assert first["trained"]
    assert first["inferred"] == 60
    assert first["epochs"] == 2
    made = read_generation(backbone)
    assert (made.classes, made.parent, made.recipe["task"]) == ((), None, "self-supervised")
    assert made.architecture == "resnet8"
    assert made.transform.size == 8, "small images keep their size"
    assert made.metrics["watched"] == 0
    written = read_predictions(out)
    assert list(written.columns) == ["embeddings"]
    assert written.column("embeddings").shape == (60, 64)
    again = command(
        "embed", pool, *TRAIN, "--save", backbone, "--out", tmp_path / "f.parquet", "--json", home=home
    ).json
    assert (again["trained"], again["inferred"]) == (False, 0)
    assert (tmp_path / "f.parquet").read_bytes() == out.read_bytes()

    chosen = tmp_path / "first.csv"
    select = ("select", pool, "--model", backbone)
    cold = command(*select, "--strategy", "auto", "--budget", 20, "--out", chosen, home=home)
    assert cold.code == 0, cold.err
    assert "typiclust:max_clusters=500 ran: nothing is labeled yet" in cold.err
    assert "0 images inferred" in cold.err
    labels = filled_in([chosen], tmp_path / "labels.csv")
    head = command(
        "train", pool, "--labels", labels, "--model", backbone, "--train", "head", "--out", tmp_path / "g1", home=home
    )
    assert head.code == 0, head.err
    assert read_generation(tmp_path / "g1").parent == made.id
    assert read_generation(tmp_path / "g1").backbone == made.backbone
    sure = command("select", pool, "--model", tmp_path / "g1", "--budget", 5, "--labeled", labels, home=home)
    assert "0 images inferred" in sure.err
    assert command("replay", chosen, home=home).code == 0


def test_a_whole_network_can_be_trained_from_a_backbone(pool: Path, home: Path, tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    command("embed", pool, *TRAIN, "--save", backbone, "--out", tmp_path / "e.parquet", home=home)
    chosen = tmp_path / "first.csv"
    command("select", pool, "--strategy", "random", "--budget", 20, "--out", chosen, home=home)
    labels = filled_in([chosen], tmp_path / "labels.csv")
    trained = command(
        "train", pool, "--labels", labels, "--model", backbone, "--epochs", 1, "--out", tmp_path / "g", home=home
    )
    assert trained.code == 0, trained.err
    generation = read_generation(tmp_path / "g")
    assert len(generation.classes) > 2
    assert generation.parent == read_generation(backbone).id
    assert generation.backbone != read_generation(backbone).backbone


@pytest.mark.parametrize(
    "asked",
    [
        ("select", "--strategy", "margin", "--budget", 3),
        ("select", "--strategy", "deep-fool", "--budget", 3),
        ("select", "--strategy", "typiclust", "--max-per-class", 1, "--budget", 3),
        ("evaluate",),
    ],
)
def test_what_needs_logits_says_that_there_is_no_head(
    asked: tuple[object, ...], digit_files: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build("mlp:4", classes=2, image_size=8, seed=0)
    from foresift.models import save_generation

    save_generation(tmp_path / "b", network, architecture="mlp:4", classes=(), transform=Transform(size=8))
    monkeypatch.setattr(
        "foresift.app.selecting.pool_selection.open_pool", lambda *_, **__: pytest.fail("an image was looked at")
    )
    answer = command(asked[0], digit_files / "test", "--model", tmp_path / "b", *asked[1:], home=home)
    assert answer.code == 1
    assert "has no head" in answer.complaint
    assert "--train head" in answer.complaint


def test_an_interrupted_training_goes_on_and_ends_the_same(pool: Path, home: Path, tmp_path: Path) -> None:
    class Cut(Silent):
        task, left = "", 2

        def start(self, task: str, total: int) -> None:
            self.task = task

        def advance(self, units: int) -> None:
            self.left -= units if "self-supervised" in self.task else 0
            if self.left < 0:
                raise RuntimeError("the power went")

    def request(name: str, options: PassOptions) -> EmbedRequest:
        out = tmp_path / f"{name}.parquet"
        return EmbedRequest(out=out, train="simclr", save=tmp_path / name, epochs=4, options=options)

    workspace = Workspace.open(home)
    whole = embed(workspace, pool, request("whole", PassOptions()))
    with pytest.raises(RuntimeError, match="power"):
        embed(workspace, pool, request("cut", PassOptions(progress=Cut())))
    assert not (tmp_path / "cut").exists()
    done = embed(workspace, pool, request("cut", PassOptions()))
    assert done.backbone.resumed_from >= 2
    assert done.backbone.model.generation.weights == whole.backbone.model.generation.weights
    assert not (tmp_path / "cut.training").exists()


def test_labels_are_watched_and_change_no_weight(digit_files: Path, home: Path, tmp_path: Path) -> None:
    weights, watched = set(), []
    few = tmp_path / "labels.csv"
    files = sorted((digit_files / "test").glob("[01]/*.png"))
    few.write_text("uri,label\n" + "".join(f"{file},{file.parent.name}\n" for file in files[:40]))
    for name, labels in (("folders", None), ("file", few)):
        request = EmbedRequest(
            out=tmp_path / "e.parquet", train="simclr", model="cnn:2", save=tmp_path / name, epochs=1, labels=labels
        )
        made = embed(Workspace.open(home), digit_files / "test", request).backbone.model.generation
        weights.add(made.weights)
        watched.append(made.metrics["watched"])
        assert "neighbours" in made.metrics["last_epoch"]
    assert watched == [450, 40]
    assert len(weights) == 1


def test_published_weights_become_a_backbone(
    pool: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(name: str, *, pretrained: bool, **given: object) -> object:
        assert pretrained
        return build(name, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(backbones, "build", fake)
    request = EmbedRequest(out=tmp_path / "e.parquet", model="resnet10t", size=32)
    workspace = Workspace.open(home)
    first, second = (embed(workspace, pool, request) for _ in range(2))
    assert (first.result.report.inferred, second.result.report.inferred) == (60, 0)
    generation = first.backbone.model.generation
    assert (generation.classes, generation.transform.size) == ((), 32)
    assert first.backbone.model.folder.parent == home / "backbones"


def test_weights_that_cannot_be_had_are_one_clear_line(pool: Path, home: Path, tmp_path: Path) -> None:
    answer = command("embed", pool, "--model", "resnet8", "--out", tmp_path / "e.parquet", home=home)
    assert "there are no published weights" in answer.complaint


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train": "simclr"}, "--save"),
        ({}, "--train simclr"),
        ({"train": "byol", "save": Path("b")}, "simclr"),
        ({"model": "x", "crops": 2}, "--crops"),
        ({"model": "x", "preset": "huge"}, "--preset"),
        ({"model": "x", "out": Path("e.csv")}, "parquet"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_any_work(
    change: dict[str, object], why: str, home: Path
) -> None:
    request = EmbedRequest(**{"out": Path("e.parquet"), **change})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=why):
        embed(Workspace.open(home), "nothing here", request)


def test_a_folder_with_other_files_is_refused_before_any_work(home: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    request = EmbedRequest(out=tmp_path / "e.parquet", train="simclr", save=tmp_path / "taken")
    with pytest.raises(ModelError, match="other files"):
        embed(Workspace.open(home), "nothing here", request)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (10, 10), (7, 30)])
def test_squares_lie_within_the_image_and_are_no_smaller_than_asked(shape: tuple[int, int]) -> None:
    high, wide = shape
    places = np.arange(high * wide).reshape(high, wide, 1).repeat(3, axis=2)
    sides, corners = set(), set()
    for seed in range(60):
        square = random_square(places, 16, np.random.default_rng(seed))  # type: ignore[arg-type]
        side = len(square)
        assert square.shape == (side, side, 3)
        assert min(16, high, wide) <= side <= min(high, wide)
        sides.add(side)
        corners.add(int(square[0, 0, 0]))
    assert len(sides) > 10 or min(shape) <= 16
    assert len(corners) > 10 or shape == (10, 10)


def test_crops_are_units_of_their_own_that_follow_the_content(home: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), dtype=np.uint8)
    for folder, order in (("a", "xyz"), ("b", "zxy")):
        (tmp_path / folder).mkdir()
        for name, image in zip(order, pixels, strict=True):
            Image.fromarray(image).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "a" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    units = []
    for folder in ("a", "b"):
        found = open_pool(Workspace.open(home), tmp_path / folder)
        made = unlabeled_images(found, Transform(size=16), crops=4, seed=1, progress=Silent())
        assert len(made) == 12
        assert made.pixels is not None
        units.append(made.pixels)
        loaded = [made.load(row) for row in range(12)]
        assert np.array_equal(loaded, made.pixels)
    assert np.array_equal(units[0], units[1])
    assert len(np.unique(units[0].reshape(12, -1), axis=0)) == 12
