"""The whole line through the installed command, as a person would type it."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from commands import Answer, process, start
from conftest import copy_digits

HEAVY = (
    "torch",
    "lance",
    "pyarrow",
    "openvino",
    "nncf",
    "timm",
    "pytorch_lightning",
    "sklearn",
    "scipy",
    "numba",
    "PIL",
)


@pytest.mark.timeout(600)
def test_from_a_folder_to_labels_to_the_next_generation(digit_files: Path, tmp_path: Path, home: Path) -> None:
    def run(*args: object) -> Answer:
        answer = process(*args, home=home)
        assert answer.code == 0, answer.err
        return answer

    pool = copy_digits(digit_files / "train", tmp_path / "to label", each=20)
    (pool / "broken.jpg").write_bytes(b"\xff\xd8\xff half a picture")
    first = run("train", digit_files / "test", "--model", "mlp:8", "--out", tmp_path / "gen1", "--epochs", 2, "--json")
    assert first.json["data"]["labeled"] == 450

    out = tmp_path / "predictions.parquet"
    predicted = run("predict", pool, "--model", tmp_path / "gen1", "--out", out, "--json").json
    assert (predicted["predicted"], predicted["inferred"]) == (200, 200)
    assert [Path(one["uri"]).name for one in predicted["quarantined"]] == ["broken.jpg"]
    assert pq.read_table(out).column_names == ["id", "uri", "logits", "embedding"]

    chosen = tmp_path / "chosen.csv"
    told = run("select", pool, "--model", first.json["id"], "--strategy", "margin", "--budget", 60, "--out", chosen)
    assert told.out == ""
    assert "selected 60 of 200 by margin" in told.err
    assert "0 images inferred" in told.err
    assert f"  {pool / 'broken.jpg'}: not an image, or a damaged one" in told.err

    with chosen.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with chosen.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "label": Path(row["uri"]).name[0]} for row in rows)

    more = ("--classes", "0,1,2,3,4,5,6,7,8,9", "--epochs", 1, "--json")  # the few labels may lack a class
    second = run("train", pool, "--labels", chosen, "--model", "cnn:4", "--out", tmp_path / "gen2", *more)
    assert second.json["data"]["labeled"] == 60
    measured = run("evaluate", digit_files / "test", "--model", tmp_path / "gen2", "--json").json
    assert measured["n"] == 450

    again = run("replay", chosen, "--json").json
    assert again["same"] is True
    assert again["ids"] == [row["id"] for row in rows]
    why = run("explain", chosen, rows[0]["id"])
    assert why.out.splitlines()[1] == "chosen: rank 1 of 200 by margin, within the budget of 60"


def test_help_is_told_without_the_heavy_libraries() -> None:
    program = (
        "import sys\n"
        "from foresift.cli.main import main\n"
        "sys.argv = ['foresift', '--help']\n"
        "try:\n    main()\n"
        f"finally:\n    print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert told.stdout.endswith("loaded []\n")


def test_addresses_on_standard_input(digit_files: Path, home: Path) -> None:
    lines = "".join(f"{file}\n" for file in sorted((digit_files / "test" / "3").iterdir()))
    answer = process("select", "-", "--strategy", "random", "--budget", 4, home=home, stdin=lines)
    assert answer.code == 0
    assert len(list(csv.DictReader(answer.out.splitlines()))) == 4


def test_a_reader_that_leaves_is_no_failure(digit_files: Path, home: Path) -> None:
    arguments = ("select", digit_files / "test", "--strategy", "random", "--budget", 400, "--json")
    with start(*arguments, home=home) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait(60) == 0
