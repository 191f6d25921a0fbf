"""Bad input: one clear line, a non-zero exit code, nothing half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from commands import Answer, command
from foresift.models import load_network, save_generation
from foresift.stores.generations import read_generation
from images import png

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def run(home: Path) -> Callable[..., Answer]:
    return lambda *args: command(*args, home=home)


def refused(answer: Answer, code: int, *words: str) -> None:
    assert answer.code == code, answer.err
    assert answer.out == ""
    assert all(word in answer.complaint for word in words), answer.complaint


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- what was asked for --------------------------------------------------------------------


def test_an_unknown_strategy_suggests_the_nearest(run: Callable[..., Answer], pool: Path) -> None:
    refused(run("select", pool, "--strategy", "entrpy", "--budget", 1), 2, "'entrpy'", "did you mean 'entropy'")
    refused(run("select", pool, "--strategy", "EntropySampler", "--budget", 1), 2, "'EntropySampling'")
    refused(run("select", pool, "--strategy", "random:speed=2", "--budget", 1), 2, "speed")


def test_an_unknown_architecture_or_engine_suggests_the_nearest(
    run: Callable[..., Answer], pool: Path, generation: Path, tmp_path: Path
) -> None:
    refused(run("train", pool, "--model", "resnt20", "--out", tmp_path / "gen"), 2, "resnet20")
    refused(run("predict", pool, "--model", generation, "--engine", "openvno"), 2, "openvino-f32")
    assert not (tmp_path / "gen").exists()


@pytest.mark.parametrize("budget", [0, -3, 61])
def test_a_budget_outside_the_unlabeled_pool(
    budget: int, run: Callable[..., Answer], pool: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    refused(run("select", pool, "--strategy", "random", "--budget", budget, "--out", out), 2, "budget", str(budget))
    assert not out.exists()
    if budget >= 0:
        answer = run("select", pool, "--strategy", "random", "--budget", budget, "--allow-short", "--out", out)
        assert answer.code == 0
        assert len(out.read_text().splitlines()) == 1 + min(budget, 60)


def test_pool_and_predictions_exclude_each_other(run: Callable[..., Answer], pool: Path, tmp_path: Path) -> None:
    refused(run("select", "--budget", 1), 2, "either POOL or --predictions")
    refused(run("select", pool, "--predictions", tmp_path / "p.parquet", "--budget", 1), 2, "not both")


def test_a_strategy_without_its_model(run: Callable[..., Answer], pool: Path) -> None:
    refused(run("select", pool, "--budget", 1), 2, "--model")


@pytest.mark.parametrize("command_line", ["select", "predict", "evaluate", "train"])
def test_a_pool_that_is_not_there(
    command_line: str, run: Callable[..., Answer], generation: Path, tmp_path: Path
) -> None:
    more = {"select": ["--budget", 1], "train": ["--out", tmp_path / "gen"]}.get(command_line, [])
    refused(
        run(command_line, tmp_path / "nowhere", "--model", generation, *more), 2, "nowhere", "no such file or folder"
    )


def test_a_model_that_is_not_there(run: Callable[..., Answer], pool: Path, tmp_path: Path) -> None:
    refused(run("predict", pool, "--model", tmp_path / "nothing"), 1, "nothing", "foresift train")
    (tmp_path / "folder").mkdir()
    refused(run("predict", pool, "--model", tmp_path / "folder"), 1, "generation.json")


def test_an_empty_pool(run: Callable[..., Answer], generation: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(run("select", tmp_path / "empty", "--model", generation, "--budget", 1), 1, "no images")
    (tmp_path / "empty.csv").write_text("uri\n")
    refused(run("predict", tmp_path / "empty.csv", "--model", generation), 1, "no images")
    pq.write_table(pa.table({"id": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    line = ("select", "--predictions", tmp_path / "empty.parquet", "--strategy", "random", "--budget")
    refused(run(*line, 1), 1, "no rows")


def test_labels_of_other_classes(run: Callable[..., Answer], pool: Path, generation: Path, tmp_path: Path) -> None:
    file = next(pool.iterdir())
    (tmp_path / "labels.csv").write_text(f"uri,label\n{file},cat\n")
    refused(run("evaluate", pool, "--model", generation, "--labels", tmp_path / "labels.csv"), 1, "cat", "10 classes")


@pytest.mark.parametrize("command_line", ["train", "evaluate"])
def test_a_labels_file_in_which_nothing_is_filled_in(
    command_line: str, run: Callable[..., Answer], pool: Path, generation: Path, tmp_path: Path
) -> None:
    out = tmp_path / "to_label.csv"
    assert run("select", pool, "--model", generation, "--budget", 3, "--out", out).code == 0
    more = ["--out", tmp_path / "gen"] if command_line == "train" else []
    answer = run(command_line, pool, "--labels", out, "--model", generation, *more)
    refused(answer, 1, "to_label.csv", "no label is filled in yet in 3 rows")


def test_a_folder_that_is_taken(
    run: Callable[..., Answer], digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(generation, tmp_path / "own"))
    before = files_below(own)
    refused(run("train", digit_files / "test", "--model", "linear", "--out", own), 1, "nothing was overwritten")
    assert files_below(own) == before


# ---- broken images -------------------------------------------------------------------------


def test_strict_makes_a_broken_image_fatal(
    run: Callable[..., Answer], pool: Path, generation: Path, tmp_path: Path
) -> None:
    (pool / "bad.png").write_bytes(png()[:50])
    out = tmp_path / "out.csv"
    line = ("select", pool, "--model", generation, "--budget", 3, "--out", out)
    refused(run(*line, "--strict"), 1, "--strict", "bad.png", "damaged PNG")
    assert not out.exists()
    assert run(*line).code == 0
    refused(run(*line, "--strict"), 1, "--strict", "bad.png", "damaged PNG")  # the store knows it by now
    refused(run("predict", pool, "--model", generation, "--strict"), 1, "bad.png")
    (pool / "bad.png").write_bytes(b"")
    refused(run("select", pool, "--strategy", "random", "--budget", 3, "--strict"), 1, "bad.png", "zero bytes")


def test_broken_images_are_reported_by_every_command(
    run: Callable[..., Answer], digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(digit_files / "test", tmp_path / "data"))
    bad = data / "3" / "bad.png"
    bad.write_bytes(png()[:50])
    for line in (
        ["predict", data, "--model", generation],
        ["evaluate", data, "--model", generation],
        ["select", data, "--model", generation, "--budget", 2],
        ["train", data, "--model", "linear", "--out", tmp_path / "gen", "--epochs", 1],
    ):
        (told,) = run(*line, "--json").json["quarantined"]
        assert told["uri"] == str(bad)
        assert "damaged PNG" in told["reason"]
        if line[0] != "train":
            answer = run(*line)
            assert f"{bad}: damaged PNG" in answer.err
            assert "quarantined, never ranked: 1 file\n" in answer.err
    refused(run("train", data, "--model", "linear", "--out", tmp_path / "no", "--strict"), 1, "bad.png")
    assert not (tmp_path / "no").exists()


# ---- numbers that are none -----------------------------------------------------------------


def test_logits_that_are_not_finite(run: Callable[..., Answer], pool: Path, generation: Path, tmp_path: Path) -> None:
    record = read_generation(generation)
    network = load_network(generation, record)
    with torch.no_grad():
        network.head.weight.fill_(3e38)  # finite weights, infinite sums
    save_generation(
        tmp_path / "sick", network, architecture="mlp:8", classes=record.classes, transform=record.transform
    )
    out = tmp_path / "out.csv"
    answer = run("select", pool, "--model", tmp_path / "sick", "--budget", 3, "--out", out)
    refused(answer, 1, "logits that are not finite for", str(pool))
    assert not out.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_predictions_file_with_numbers_that_are_none(
    value: float, run: Callable[..., Answer], tmp_path: Path
) -> None:
    pq.write_table(pa.table({"id": ["a", "b"], "logits": [[0.0, 1.0], [0.0, value]]}), tmp_path / "p.parquet")
    refused(run("select", "--predictions", tmp_path / "p.parquet", "--budget", 1), 1, "'b'", "finite")


def test_a_predictions_file_that_is_none(run: Callable[..., Answer], tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    line = ("select", "--predictions", path, "--budget", 1)
    refused(run(*line), 1, "p.parquet")
    path.write_text("id,logits\n")
    refused(run(*line), 1, "p.parquet", "not a readable Parquet file")
    pq.write_table(pa.table({"name": ["a"]}), path)
    refused(run(*line), 1, "column named id")
    pq.write_table(pa.table({"id": ["a"], "embedding": [[0.5]]}), path)
    refused(run(*line), 2, "needs the column logits")


# ---- weights -------------------------------------------------------------------------------


class _Payload:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/foresift-was-here",)


def test_state_dicts_are_taken_and_code_is_not(run: Callable[..., Answer], digit_files: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    data = digit_files / "test"
    line = ("train", data, "--model", "mlp:8", "--epochs", 1)
    assert run(*line, "--out", tmp_path / "gen").code == 0
    state = load_network(tmp_path / "gen", read_generation(tmp_path / "gen")).state_dict()
    torch.save(state, tmp_path / "weights.pt")
    save_file(state, tmp_path / "weights.safetensors")
    for name in ("weights.pt", "weights.safetensors"):
        answer = run(*line, "--weights", tmp_path / name, "--out", tmp_path / f"from {name}", "--json")
        assert answer.code == 0, answer.err
        assert name in answer.json["recipe"]["start"]
    torch.save({"head.weight": _Payload()}, tmp_path / "evil.pt")
    refused(run(*line, "--weights", tmp_path / "evil.pt", "--out", tmp_path / "no"), 1, "evil.pt")
    assert not Path("/tmp/foresift-was-here").exists()
    assert not (tmp_path / "no").exists()
    torch.save({name: tensor for name, tensor in state.items() if "head" not in name}, tmp_path / "half.pt")
    refused(run(*line, "--weights", tmp_path / "half.pt", "--out", tmp_path / "no"), 1, "head")


# ---- the disk ------------------------------------------------------------------------------


def test_a_workspace_that_is_a_file(run: Callable[..., Answer], pool: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(run("select", pool, "--strategy", "random", "--budget", 1, "--home", tmp_path / "file"), 1, "is a file")


def test_the_old_output_stays_when_the_new_one_fails(
    run: Callable[..., Answer], pool: Path, generation: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "chosen.csv"
    line = ("select", pool, "--model", generation, "--out", out, "--budget")
    assert run(*line, 5).code == 0
    before = files_below(out.parent)
    assert run(*line, 61).code == 2
    (pool / "bad.png").write_bytes(b"no image")
    assert run(*line, 5, "--strict").code == 1
    assert files_below(out.parent) == before
