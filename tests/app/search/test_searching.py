"""``foresift search``: schemes, sizes, subsets that any later training takes, kills, refusals."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Answer, command, start

pytestmark = pytest.mark.timeout(900)
EACH = 20
"""Digits of each class."""


@pytest.fixture(scope="module")
def labeled(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 digits in class folders; not to be changed."""
    folder = tmp_path_factory.mktemp("labeled") / "digits"
    for digit in sorted((digit_files / "train").iterdir()):
        (folder / digit.name).mkdir(parents=True)
        for file in sorted(digit.iterdir())[:EACH]:
            shutil.copy(file, folder / digit.name)
    return folder


def written(folder: Path, source: Path, **changes: Any) -> Path:
    """A search file with some keys changed; None leaves a key out."""
    import yaml

    settings: dict[str, Any] = {
        "data": str(source),
        "scheme": "build-up",
        "sizes": [0.125, 0.25, 0.5],
        "members": {"seeds": 2, "epochs": 2},
        "score": "mutual-information",
        "model": "mlp:8",
        "seed": 0,
        "recipe": {"epochs": 4},
    }
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in {**settings, **changes}.items() if v is not None}))
    return file


def ids_of(stage: dict[str, Any]) -> set[str]:
    return set(json.loads(Path(stage["manifest"]).read_text())["ids"])


def searched(file: Path, home: Path, *options: object) -> list[dict[str, Any]]:
    answer = command("search", file, "--json", *options, home=home)
    assert answer.code == 0, answer.err
    stages = answer.json["stages"]
    assert all(0 <= stage["accuracy"] <= 1 for stage in stages)
    assert all(len(ids_of(stage)) == stage["size"] for stage in stages)
    return list(stages)


def test_build_up_grows_by_exact_sizes_and_is_reported_when_run_again(
    labeled: Path, home: Path, tmp_path: Path
) -> None:
    file = written(tmp_path, labeled)
    stages = searched(file, home)
    assert [stage["size"] for stage in stages] == [20, 40, 80]
    held = [ids_of(stage) for stage in stages]
    assert held[0] < held[1] < held[2]
    folder = Path(stages[0]["manifest"]).parents[1]
    began = json.loads((folder / "start" / "subset.json").read_text())
    assert len(began["ids"]) == 10
    assert set(began["ids"]) < held[0]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    again = command("search", file, home=home)
    assert again.code == 0
    assert "nothing was trained" in again.err
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_what_build_up_adds_is_what_the_ensemble_finds_most_informative(
    labeled: Path, home: Path, tmp_path: Path
) -> None:
    import foresift
    from foresift.core.members import state_of
    from foresift.scores.ensemble import mutual_information

    stages = searched(written(tmp_path, labeled, sizes=[40]), home)
    folder = Path(stages[0]["manifest"]).parents[1]
    began = set(json.loads((folder / "start" / "subset.json").read_text())["ids"])
    kept = [folder / "start" / f"seed-{seed}" for seed in range(2)]
    said = foresift.predict(labeled, kept, checkpoints="last=2", home=home)
    everything = json.loads((folder / "search.json").read_text())
    assert everything["settings"]["model"] == "mlp:8"
    values = mutual_information(said.column("members"))
    held_out = _held_out(labeled, home)
    free = [(-v, i) for v, i in zip(values, said.sample_ids.tolist(), strict=True) if i not in began | held_out]
    assert ids_of(stages[0]) - began == {sample for _, sample in sorted(free)[:20]}
    assert state_of  # the state itself is tested where it is made


def _held_out(data: Path, home: Path) -> set[str]:
    from foresift.app.pools import open_pool
    from foresift.app.runs.pools import fifth
    from foresift.app.workspace import Workspace

    pool = open_pool(Workspace.open(home), data)
    return set(pool.ids[fifth(pool)].tolist())


def test_nothing_that_is_held_out_is_ever_taken(labeled: Path, home: Path, tmp_path: Path) -> None:
    stages = searched(written(tmp_path, labeled, scheme="compress", sizes=[1.0]), home)
    held = _held_out(labeled, home)
    assert len(held) == 40
    assert ids_of(stages[0]).isdisjoint(held)
    assert stages[0]["size"] == 160


def test_compress_at_all_samples_equals_training_on_all(labeled: Path, home: Path, tmp_path: Path) -> None:
    stages = searched(written(tmp_path, labeled, scheme="compress", sizes=[0.5, 1.0]), home)
    folder = Path(stages[0]["manifest"]).parents[1]
    for seed in range(2):
        weights = [(folder / name / f"seed-{seed}" / "model.safetensors").read_bytes() for name in ("all", "stage-2")]
        assert weights[0] == weights[1]
    assert ids_of(stages[0]) < ids_of(stages[1])


def test_pretrain_goes_on_from_the_weights_of_those_that_knew_everything(
    labeled: Path, home: Path, tmp_path: Path
) -> None:
    tuned = {"epochs": 1, "lr": 0.001}
    stages = searched(written(tmp_path, labeled, scheme="pretrain", sizes=[0.25], **{"fine-tune": tuned}), home)
    folder = Path(stages[0]["manifest"]).parents[1]
    first, later = (
        json.loads((folder / name / "seed-1" / "generation.json").read_text()) for name in ("all", "stage-1")
    )
    assert later["parent"] == first["id"]
    assert later["recipe"]["lr"] == 0.001
    assert stages[0]["members"] == 2


def test_the_largest_scores_are_passed_over(labeled: Path, home: Path, tmp_path: Path) -> None:
    common = {"scheme": "compress", "score": "predictive-entropy"}
    plain = searched(written(tmp_path, labeled, sizes=[16, 48], **common), home)
    less = searched(written(tmp_path, labeled, sizes=[32], outliers=0.1, **common), home)
    assert ids_of(less[0]) == ids_of(plain[1]) - ids_of(plain[0])


@pytest.mark.parametrize("score", ["random", "variation-ratios", "error-count", "vote-entropy", "entropy", "badge"])
def test_other_scores_rank_too(score: str, labeled: Path, home: Path, tmp_path: Path) -> None:
    recipe = {"epochs": 2}
    stages = searched(written(tmp_path, labeled, score=score, sizes=[0.25], recipe=recipe), home)
    assert stages[0]["size"] == 40


def test_other_architectures_learn_from_the_manifest_alone(labeled: Path, home: Path, tmp_path: Path) -> None:
    stages = searched(written(tmp_path, labeled), home)
    manifest = stages[-1]["manifest"]
    for number, model in enumerate(("cnn:4", "mlp:16")):
        out = tmp_path / f"later-{number}"
        answer = command("train", "--subset", manifest, "--model", model, "--epochs", 1, "--out", out, home=home)
        assert answer.code == 0, answer.err
        record = json.loads((out / "generation.json").read_text())
        assert record["data"]["labeled"] == 80
        assert record["data"]["subset"] == json.loads(Path(manifest).read_text())["hash"]
        assert len(record["classes"]) == 10


def test_other_architectures_are_compared_on_random_found_and_all(labeled: Path, home: Path, tmp_path: Path) -> None:
    wanted = {"models": ["cnn:4", "mlp:4"], "seeds": 2}
    file = written(tmp_path, labeled, sizes=[0.25], recipe={"epochs": 2}, transfer=wanted)
    rows = command("search", file, "--json", home=home).json["transfer"]
    assert [row["model"] for row in rows] == ["cnn:4", "mlp:4"]
    for row in rows:
        assert all(len(row[name]["seeds"]) == 2 for name in ("random", "found", "full"))
        assert row["gain"]["mean"] == pytest.approx(row["found"]["mean"] - row["random"]["mean"])
        assert row["gap"]["mean"] == pytest.approx(row["found"]["mean"] - row["full"]["mean"])
    folder = next((home / "searches").iterdir()) / "transfer"
    labeled_in = [
        json.loads((folder / "cnn-4" / f"{part}-0" / "generation.json").read_text())["data"]["labeled"]
        for part in ("random", "found", "full")
    ]
    assert labeled_in == [40, 40, 160]
    assert "cnn:4" in command("search", file, home=home).out


def test_a_manifest_does_not_fit_other_data(labeled: Path, home: Path, tmp_path: Path, digit_files: Path) -> None:
    manifest = searched(written(tmp_path, labeled, sizes=[0.5]), home)[-1]["manifest"]
    given = ("--subset", manifest, "--model", "mlp:4", "--out", tmp_path / "gen")
    other = command("train", digit_files / "test", *given, home=home)
    assert other.code == 1
    assert "lacks 80 of the 80 samples of the subset" in other.complaint
    plain = json.loads(Path(manifest).read_text())
    Path(manifest).write_text(json.dumps({**plain, "hash": "0" * 40}))
    assert "other contents" in command("train", labeled, *given, home=home).complaint
    Path(manifest).write_text(json.dumps({**plain, "ids": plain["ids"][:-1]}))
    assert "lists 79 of them" in command("train", labeled, *given, home=home).complaint


def test_a_search_that_is_killed_goes_on_without_repeating_a_member(labeled: Path, home: Path, tmp_path: Path) -> None:
    file = written(tmp_path, labeled, sizes=[0.25, 0.5])
    undisturbed = searched(file, tmp_path / "other-home")
    kills, finished = 0, {}
    for _ in range(12):
        running = start("search", file, "--json", home=home)
        known = len(finished)
        deadline = time.monotonic() + 100
        while running.poll() is None and time.monotonic() < deadline:
            if len(_generations(home)) >= known + 2:
                running.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)  # looks at the disk: there is nothing else to wait on
        running.communicate()
        now = _generations(home)
        assert finished.items() <= now.items(), "a member was trained again"
        finished = now
        if running.returncode == 0:
            break
    assert kills >= 2
    stages = searched(file, home)
    assert _generations(home) == finished
    assert [ids_of(stage) for stage in stages] == [ids_of(stage) for stage in undisturbed]
    assert [stage["accuracy"] for stage in stages] == [stage["accuracy"] for stage in undisturbed]


def _generations(home: Path) -> dict[str, int]:
    """Every member that is complete, and when its record was written."""
    found = (home / "searches").glob("*/*/seed-*/generation.json")
    return {str(path): path.stat().st_mtime_ns for path in found}


def refused(file: Path, home: Path) -> Answer:
    answer = command("search", file, "--json", home=home)
    assert answer.code in (1, 2)
    assert not list((home / "searches").glob("*/*/seed-*")), "something was trained"
    return answer


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scheme": "compres"}, "did you mean 'compress'"),
        ({"sizes": None}, "give either sizes"),
        ({"sizes": [0.5, 0.25]}, "must grow"),
        ({"sizes": [1000]}, "up to 160"),
        ({"members": {"seeds": 1, "epochs": 1}}, "two members at the least"),
        ({"members": {"seed": 2}}, "did you mean 'seeds'"),
        ({"members": {"seeds": 0, "epochs": 2}}, "at least 1"),
        ({"members": {"seeds": 2, "epochs": 9}}, "keep_checkpoints"),
        ({"score": "mutual-informatoin"}, "did you mean 'mutual-information'"),
        ({"score": "deep-fool"}, "which takes one model"),
        ({"score": "core-set", "outliers": 0.1}, "does not rank"),
        ({"model": "mlpp:8"}, "mlpp"),
        ({"outliers": 0.9}, "lower one of them"),
        ({"start": 0.2}, "below the first size"),
        ({"scheme": "pretrain", "start": 0.2}, "leave it out"),
        ({"recipe": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"evaluatoin": "x"}, "did you mean 'evaluation'"),
        ({"transfer": {"models": ["cnn:8", "mlpp:8"]}}, "did you mean 'mlp'"),
        ({"data": None}, "data is missing"),
        ({"data": "nowhere/"}, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(
    changes: dict[str, Any], said: str, labeled: Path, home: Path, tmp_path: Path
) -> None:
    answer = refused(written(tmp_path, labeled, **changes), home)
    assert said in answer.json["error"]


def test_a_key_that_stands_twice_is_refused_with_both_lines(labeled: Path, home: Path, tmp_path: Path) -> None:
    file = written(tmp_path, labeled)
    file.write_text("seed: 1\n" + file.read_text())
    assert "key seed stands in line 1 already" in refused(file, home).json["error"]


def test_a_file_that_is_not_there_is_told_with_what_was_expected(home: Path, tmp_path: Path) -> None:
    assert "does not exist; expected a YAML file with data, scheme" in refused(tmp_path / "no.yaml", home).json["error"]
    assert "is a folder" in refused(tmp_path, home).json["error"]


@pytest.mark.parametrize(
    "changes", [{"scheme": "pretrain"}, {"scheme": "compress"}, {"score": "error-count"}, {"scheme": "build-up"}]
)
def test_data_without_all_labels_are_refused_with_what_is_legal(
    changes: dict[str, Any], labeled: Path, home: Path, tmp_path: Path
) -> None:
    rows = [
        f"{path},{path.parent.name if number else ''}" for number, path in enumerate(sorted(labeled.rglob("*.png")))
    ]
    manifest = tmp_path / "some.csv"
    manifest.write_text("\n".join(["uri,label", *rows]))
    error = refused(written(tmp_path, manifest, **changes), home).json["error"]
    assert "1 of 200" in error
    assert "mutual-information" in error


def test_data_that_changed_since_and_folders_of_others_are_refused(labeled: Path, home: Path, tmp_path: Path) -> None:
    data = shutil.copytree(labeled, tmp_path / "data")
    out = tmp_path / "found"
    searched(written(tmp_path, data, sizes=[0.25]), home, "--out", out)
    next(data.rglob("*.png")).unlink()
    changed = command("search", written(tmp_path, data, sizes=[0.25]), "--out", out, home=home)
    assert "the data changed" in changed.complaint
    other = command("search", written(tmp_path, data, sizes=[0.5]), "--out", out, home=home)
    assert "a search with other settings" in other.complaint
    assert "other files" in command("search", written(tmp_path, data), "--out", data, home=home).complaint


def test_an_evaluation_folder_is_measured_on_and_never_taken_from(labeled: Path, home: Path, tmp_path: Path) -> None:
    evaluation = tmp_path / "evaluation"
    for digit in sorted(labeled.iterdir()):
        (evaluation / digit.name).mkdir(parents=True)
        shutil.copy(min(digit.iterdir()), evaluation / digit.name)
    stages = searched(written(tmp_path, labeled, scheme="compress", sizes=[1.0], evaluation=str(evaluation)), home)
    assert stages[0]["size"] == 190
    assert np.isclose(stages[0]["accuracy"] * 10, round(stages[0]["accuracy"] * 10))
