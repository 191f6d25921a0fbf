"""Training through the application: what is refused, when, and what the record says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
from torch import Tensor, nn

from foresift.app import python
from foresift.app.training import fitting, keeping
from foresift.app.training.request import Trained, TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import ModelError, QuarantineError, UnknownNameError, UsageError
from foresift.models import registry
from foresift.stores.generations import read_generation
from images import png

RECIPE = {"epochs": 1}
HEAD = {"train": "head"}


@pytest.fixture
def few(digit_files: Path, tmp_path: Path) -> Path:
    """Five images of each digit in class folders; the test's own."""
    return few_digits(digit_files, tmp_path / "few")


def few_digits(digit_files: Path, folder: Path) -> Path:
    for digit in sorted((digit_files / "test").iterdir()):
        (folder / digit.name).mkdir(parents=True)
        for file in sorted(digit.iterdir())[:5]:
            shutil.copy(file, folder / digit.name)
    return folder


@pytest.fixture
def run(few: Path, home: Path, tmp_path: Path) -> Callable[..., Trained]:
    def run(data: Path = few, **asked: Any) -> Trained:
        request = TrainRequest(**{"model": "linear", "out": tmp_path / "gen", "recipe": RECIPE} | asked)
        return train(Workspace.open(home), data, request)

    return run


def damaged(file: Path) -> Path:
    file.write_bytes(png()[:50])
    return file


# ---- where the generation goes -------------------------------------------------------------


def fill_file(out: Path) -> None:
    out.write_text("mine")


def fill_folder(out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("mine")


def fill_generation(out: Path) -> None:
    out.mkdir()
    (out / "generation.json").write_text("{}")
    (out.with_name("gen.training")).mkdir()


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (fill_file, "gen is a file"),
        (fill_folder, "gen holds other files"),
        (fill_generation, r"gen holds a generation already \(.*gen.training is left over from it\)"),
    ],
)
def test_a_place_that_is_taken_is_refused_before_anything_is_read(
    fill: Callable[[Path], None], words: str, run: Callable[..., Trained], tmp_path: Path
) -> None:
    fill(tmp_path / "gen")
    with pytest.raises(ModelError, match=words + ".*nothing was overwritten"):
        run(data=tmp_path / "no such data")


def test_killed_before_the_clean_up_the_generation_is_whole(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = keeping.save_generation

    def save_and_die(*args: Any, **values: Any) -> None:
        save(*args, **values)
        raise KeyboardInterrupt

    monkeypatch.setattr(keeping, "save_generation", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        run(model="mlp:4", recipe={"epochs": 2, "checkpoint_every_epoch": True})
    out = tmp_path / "gen"
    kept = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    epochs = [f"checkpoints/epoch-000{epoch}.safetensors" for epoch in range(2)]
    assert kept == [*epochs, "generation.json", "metrics.csv", "model.safetensors"]


def die_after_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill does between the rename of the generation folder and the clean-up."""
    save = keeping.save_generation

    def save_and_die(*args: Any, **values: Any) -> None:
        save(*args, **values)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(keeping, "save_generation", save_and_die)


@pytest.mark.parametrize("way", ["all", "head"])
def test_a_repetition_after_such_a_kill_cleans_up_notes_the_id_and_trains_nothing(
    way: str,
    run: Callable[..., Trained],
    generation: Path,
    few: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"val": str(few)} | ({"model": str(generation), "recipe": HEAD} if way == "head" else {})
    die_after_saving(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(**asked)
    record = read_generation(tmp_path / "gen")
    with pytest.raises(ModelError, match="no generation"):
        Workspace.open(home).generation_folder(record.id)
    for trainer in ("train_network", "fit_head"):
        monkeypatch.setattr(fitting, trainer, lambda *a, **k: pytest.fail("trained again"))
    again = run(**asked)
    assert again.generation == record
    assert fitting.COMPLETE in again.notes
    assert Workspace.open(home).generation_folder(record.id) == tmp_path / "gen"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "gen", "home"]


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"recipe": {"epochs": 2}}, {"model": "mlp:4"}, {"image_size": 9}, {"val": "few"}, {"data": "other"}],
)
def test_another_request_for_the_same_folder_is_refused_and_changes_nothing(
    other: dict[str, Any], run: Callable[..., Trained], few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_after_saving(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run()
    before = {path: path.read_bytes() for path in (tmp_path / "gen").rglob("*") if path.is_file()}
    if "data" in other:
        other = {"data": Path(shutil.copytree(few, tmp_path / "other"))}
        next(other["data"].rglob("*.png")).unlink()
    elif "val" in other:
        other = {"val": str(few)}
    with pytest.raises(ModelError, match=r"holds a generation already \(.*nothing was overwritten"):
        run(**other)
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "gen.training").is_dir()


def test_nothing_is_left_beside_a_finished_generation(run: Callable[..., Trained], tmp_path: Path) -> None:
    run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few", "gen", "home"]


# ---- broken images -------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["all", "head"])
def test_broken_images_of_both_sets_are_reported_and_fatal_under_strict(
    way: str, run: Callable[..., Trained], few: Path, generation: Path, digit_files: Path, tmp_path: Path
) -> None:
    val = few_digits(digit_files, tmp_path / "val")
    asked = {"val": str(val)} if way == "all" else {"val": str(val), "model": str(generation), "recipe": HEAD}
    seen = damaged(few / "3" / "bad.png")
    (few / "4" / "empty.png").touch()
    held_out = damaged(val / "5" / "bad.png")
    done = run(**asked)
    assert {Path(broken.uri) for broken in done.quarantined} == {seen, few / "4" / "empty.png", held_out}
    shutil.rmtree(done.folder)
    for harmless in (seen, few / "4" / "empty.png"):
        with pytest.raises(QuarantineError, match="--strict"):
            run(strict=True, **asked)
        harmless.unlink()
    with pytest.raises(QuarantineError, match=r"--strict.*val/5/bad\.png"):
        run(strict=True, **asked)
    assert not done.folder.exists()
    held_out.unlink()
    assert run(strict=True, **asked).quarantined == ()


def test_an_image_broken_in_both_sets_is_reported_once(run: Callable[..., Trained], few: Path) -> None:
    damaged(few / "3" / "bad.png")
    assert len(run(val=str(few)).quarantined) == 1


@pytest.mark.parametrize("way", ["all", "head"])
def test_the_record_counts_the_images_that_were_learned_from(
    way: str, run: Callable[..., Trained], few: Path, generation: Path
) -> None:
    damaged(min((few / "3").iterdir()))
    asked = {} if way == "all" else {"model": str(generation), "recipe": HEAD}
    data = run(**asked).generation.data
    assert data["labeled"] == 49
    assert data["per_class"] == [4 if digit == 3 else 5 for digit in range(10)]


# ---- what --model means --------------------------------------------------------------------


def test_an_architecture_wins_over_a_folder_of_its_name(
    run: Callable[..., Trained], generation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("linear", "own"):
        shutil.copytree(generation, tmp_path / name)
    assert run().generation.architecture == "linear"
    parent = read_generation(generation)
    for spec in (f".{os.sep}linear", "own", str(generation)):
        done = run(model=spec, out=tmp_path / f"gen {Path(spec).name}")
        assert done.generation.parent == parent.id
        assert done.notes[0].startswith(f"starting from generation {parent.id[:12]} (")


def test_what_is_neither_is_named(run: Callable[..., Trained]) -> None:
    with pytest.raises(UnknownNameError, match="resnet20"):
        run(model="resnet200000")
    with pytest.raises(ModelError, match=r"\./linear"):
        run(model="./linear")


# ---- published weights ---------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's networks without the download: the weights are random."""
    monkeypatch.setattr(registry, "published", lambda name, **sizes: timm.create_model(name, **sizes))


@pytest.mark.usefixtures("hub")
def test_published_weights_get_the_images_they_know(few: Path, home: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(home)
    ask = TrainRequest(model="test_resnet", out=tmp_path / "a", pretrained=True, recipe=HEAD)
    known = registry.pretrained_transform(ask.model)
    assert (known.size, known.resize, known.crop_share, known.interpolation) == (160, "crop", 0.95, "bilinear")
    assert known.mean == (0.5, 0.5, 0.5)
    assert train(workspace, few, ask).generation.transform == known
    small = train(workspace, few, replace(ask, out=tmp_path / "b", image_size=64)).generation
    assert small.transform == replace(known, size=64)
    backbones = [read_generation(folder) for folder in sorted((home / "backbones").iterdir())]
    assert {backbone.transform.size for backbone in backbones} == {160, 64}
    assert all(backbone.recipe["last_layer"] == "untrained" for backbone in backbones)


# ---- heads that are not one linear layer ---------------------------------------------------


@pytest.mark.parametrize("name", ["dla46x_c", "deit_tiny_distilled_patch16_224"])
def test_a_network_with_another_kind_of_head_learns_and_gives_embeddings(
    name: str, run: Callable[..., Trained], pool: Path, home: Path
) -> None:
    done = run(model=name, image_size=32)
    assert len(done.generation.classes) == 10
    seen = python.predict(pool, done.folder, engine="torch", home=home)
    assert seen.column("logits").shape == (60, 10)
    assert seen.column("embeddings").shape == (60, done.generation.embedding_width)
    with pytest.raises(ModelError, match="train the whole network"):
        run(model=str(done.folder), out=done.folder.with_name("gen2"), recipe=HEAD)


# ---- a module of the user's own ------------------------------------------------------------


def own(width: int = 5, scale: float = 1.0) -> nn.Module:
    class Scale(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * scale

    body = nn.Linear(3 * 8 * 8, width)
    return nn.Sequential(nn.Flatten(), Scale(), body, nn.ReLU(), nn.Linear(width, 10))


@pytest.mark.parametrize("way", ["all", "head"])
def test_a_generation_of_an_own_module_is_a_parent(way: str, few: Path, home: Path, tmp_path: Path) -> None:
    recipe = RECIPE if way == "all" else HEAD
    first = python.train(few, own(), tmp_path / "gen1", image_size=8, recipe=RECIPE, home=home)
    second = python.train(few, tmp_path / "gen1", tmp_path / "gen2", module=own(), recipe=recipe, home=home)
    assert (second.parent, second.architecture) == (first.id, "custom")
    assert (second.backbone == first.backbone) == (way == "head")
    assert python.evaluate(few, second.id, module=own(), home=home)["n"] == 50


def test_an_own_module_is_asked_for_and_checked_before_it_is_trained(few: Path, home: Path, tmp_path: Path) -> None:
    python.train(few, own(), tmp_path / "gen1", image_size=8, recipe=RECIPE, home=home)
    again = partial(python.train, few, str(tmp_path / "gen1"), tmp_path / "gen2", recipe=RECIPE, home=home)
    with pytest.raises(ModelError, match="pass an instance of it as module="):
        again()
    with pytest.raises(ModelError, match="computes something else"):
        again(module=own(scale=2))
    with pytest.raises(UsageError, match="not with another module"):
        python.train(few, own(), tmp_path / "gen2", module=own(), home=home)
    known = python.train(few, "linear", tmp_path / "known", recipe=RECIPE, home=home)
    with pytest.raises(UsageError, match="architecture linear, not a module of your own; leave module= out"):
        python.train(few, known.id, tmp_path / "gen2", module=own(), home=home)
    assert not (tmp_path / "gen2").exists()


def test_a_warm_store_does_not_excuse_another_module(few: Path, home: Path, tmp_path: Path) -> None:
    python.train(few, own(), tmp_path / "gen1", image_size=8, recipe=RECIPE, home=home)
    ask = partial(python.predict, few, tmp_path / "gen1", engine="torch", home=home)
    before = ask(module=own()).column("logits")
    for other, words in ((own(scale=2), "computes something else"), (own(width=6), "shape|fit")):
        with pytest.raises(ModelError, match=words):
            ask(module=other)
    assert (ask(module=own()).column("logits") == before).all()
