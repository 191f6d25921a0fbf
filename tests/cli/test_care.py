"""What a careless moment must not cost: labels, budgets, an unreadable answer."""

from __future__ import annotations

import csv
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from commands import command, start
from foresift.core.predictions import Predictions
from foresift.stores.tables import write_predictions

pytestmark = pytest.mark.timeout(600)


def fill_in(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["label"] = "3"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_labels_that_people_filled_in_are_not_written_over(pool: Path, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "to_label.csv"
    again = ("select", pool, "--strategy", "random", "--budget", 3, "--out", out)
    assert command(*again, home=home).code == 0
    assert command(*again, home=home).code == 0  # nothing filled in: nothing lost
    fill_in(out)
    before = out.read_bytes()
    refused = command(*again, home=home)
    assert refused.code == 2
    assert "holds 1 labels already" in refused.complaint
    assert out.read_bytes() == before


@pytest.mark.parametrize("broken", [b"", b"hello", None])
def test_random_never_hands_a_broken_file_to_people(broken: bytes | None, pool: Path, home: Path) -> None:
    images = sorted(pool.rglob("*.png"))
    images[1].write_bytes(images[1].read_bytes()[:60] if broken is None else broken)
    done = command("select", pool, "--strategy", "random", "--budget", len(images) - 1, "--json", home=home).json
    assert str(images[1]) not in [row["uri"] for row in done["selected"]]
    assert [row["uri"] for row in done["quarantined"]] == [str(images[1])]
    assert command("replay", done["receipt"]["id"], "--json", home=home).json["ids"] == [
        row["id"] for row in done["selected"]
    ]


@pytest.mark.parametrize("line", [["select", "--budget", "many"], ["select", "--labled", "x"], ["train", "x"]])
def test_a_wrong_option_is_one_line_and_one_object(line: list[str], home: Path) -> None:
    plain = command(*line, home=home)
    assert plain.code == 2
    assert "--help" in plain.complaint
    assert command(*line, "--json", home=home).json["error"] in plain.complaint


def test_probabilities_in_the_place_of_logits_are_remarked_on(home: Path, tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    remarks = {}
    for name, values in (("logits", logits), ("probs", probs)):
        path = tmp_path / f"{name}.parquet"
        write_predictions(path, Predictions.from_arrays(range(20), logits=values))
        remarks[name] = command("select", "--predictions", path, "--budget", 2, "--json", home=home).json["notes"]
    assert remarks["logits"] == []
    assert "probabilities" in remarks["probs"][0]


def test_a_model_beside_a_predictions_file_is_refused(home: Path, tmp_path: Path) -> None:
    line = ("select", "--predictions", tmp_path / "p.parquet", "--model", "g", "--budget", 2)
    assert command(*line, home=home).code == 2


@pytest.fixture
def heeded_interrupts() -> Iterator[None]:
    """What a test starts heeds SIGINT, also where a shell runs the tests in the background and has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupted_command_says_what_became_of_it(home: Path) -> None:
    """Standard input stays open, so the command is certainly waiting when the signal comes."""
    command = ("select", "-", "--strategy", "random", "--budget", 1)
    with start(*command, home=home, stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write("x" * 200_000)  # more than a pipe holds: it reads, hence it has begun; the line has no end
        running.stdin.flush()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=280)
    assert running.returncode == 130, err
    assert out == ""
    assert err.startswith("interrupted;")
    assert len(err.splitlines()) == 1
