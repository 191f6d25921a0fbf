"""Members after the order is stable are not asked: by counting what was inferred, by bytes, after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import foresift
from commands import Answer, command
from foresift.app.passes.early_stop import in_turn, parse_rule
from foresift.app.passes.ensembles import open_members
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.members import state_of

pytestmark = pytest.mark.timeout(600)
EASY = "stable:overlap=0.1,correlation=0.01,patience=1"
"""Holds as soon as it may: three members."""
NEVER = "stable:overlap=1,correlation=1,patience=99"


def asked(pool: Path, runs: list[Path], *options: object) -> list[object]:
    models = [word for run in runs for word in ("--model", run)]
    return ["select", pool, *models, "--checkpoints", "all", "--budget", 6, *options]


def select(pool: Path, runs: list[Path], *options: object, home: Path, strategy: str = "mutual-information") -> Answer:
    return command(*asked(pool, runs, "--strategy", strategy, *options), home=home)


def names(receipt: dict[str, dict[str, list[dict[str, str]]]]) -> list[str]:
    return [f"{Path(one['folder']).name} {one['checkpoint'][:10]}" for one in receipt["model"]["members"]]


def test_members_after_the_stop_are_not_inferred(small: Path, runs: list[Path], home: Path) -> None:
    early = select(small, runs, "--early-stop", EASY, "--json", home=home)
    assert early.code == 0, early.err
    assert early.json["inferred"] == 3 * 40
    assert select(small, runs, "--early-stop", EASY, "--json", home=home).json["inferred"] == 0
    assert select(small, runs, "--json", home=home).json["inferred"] == 3 * 40


def test_the_receipt_says_who_was_heard_by_which_rule_and_that_it_is_approximate(
    small: Path, runs: list[Path], home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    answer = select(small, runs, "--early-stop", EASY, "--out", out, home=home)
    assert "early stop after 3 of 6 members" in answer.err
    receipt = json.loads(out.with_name("picked.csv.receipt.json").read_text())
    assert receipt["approx"].startswith("early stop after 3 of 6 members: 1 in a row left the 6 largest values")
    seen = receipt["model"]["early_stop"]
    assert (seen["rule"], seen["members"], seen["of"], seen["k"]) == (EASY, 3, 6, 6)
    assert len(seen["overlap"]) == len(seen["correlation"]) == 1
    assert seen["overlap"][0] >= 0.1
    assert names(receipt) == ["run0 epoch-0001", "run0 epoch-0002", "run1 epoch-0001"]
    assert command("replay", out, home=home).code == 0


def test_what_is_chosen_is_what_these_members_choose_without_a_rule(small: Path, runs: list[Path], home: Path) -> None:
    from foresift.app.passes.stored import PassOptions, predict_pool
    from foresift.app.pools import open_pool

    early = select(small, runs, "--early-stop", EASY, "--json", home=home).json["selected"]
    workspace = Workspace.open(home)
    pool, models = open_pool(workspace, small), open_members(workspace, runs, checkpoints="all")
    said = [
        predict_pool(workspace, pool, models[number], columns=("logits",), options=PassOptions()).predictions
        for number in (0, 1, 3)
    ]
    state = state_of([one.column("logits") for one in said])
    plain = foresift.Predictions.from_arrays(said[0].sample_ids, members=state)
    chosen = foresift.select(plain, "mutual-information", budget=6)
    assert [row["id"] for row in early] == chosen.sample_ids.tolist()
    assert [row["score"] for row in early] == chosen.scores.tolist()


@pytest.mark.parametrize("strategy", ["mutual-information", "variation-ratios", "entropy"])
def test_a_rule_that_never_holds_hears_all_and_gives_the_same_bytes(
    strategy: str, small: Path, runs: list[Path], home: Path, tmp_path: Path
) -> None:
    files = [tmp_path / "with.csv", tmp_path / "without.csv"]
    never = select(small, runs, "--early-stop", NEVER, "--out", files[0], "--json", strategy=strategy, home=home)
    assert never.json["inferred"] == 6 * 40
    plain = select(small, runs, "--out", files[1], "--json", strategy=strategy, home=home)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert never.json["receipt"]["approx"] == plain.json["receipt"]["approx"] == ""
    assert never.json["receipt"]["model"]["early_stop"]["members"] == 6
    assert never.json["receipt"]["pool"]["columns"] == plain.json["receipt"]["pool"]["columns"]
    assert "early_stop" not in plain.json["receipt"]["model"]


KILLED = """
import os, signal, sys
from foresift.app.passes import committee
from foresift.cli.main import main

most, calls, whole = int(sys.argv[1]), [], committee.predict_pool
def dies(*args, **options):
    calls.append(1)
    if len(calls) > most:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **options)
committee.predict_pool = dies
sys.argv = ["foresift", *sys.argv[2:]]
main()
"""


def killed(calls: int, *words: object, home: Path) -> None:
    """A command that is killed as one more member is about to be asked."""
    environment = {**os.environ, "FORESIFT_HOME": str(home)}
    run = [sys.executable, "-c", KILLED, str(calls), *map(str, words)]
    assert subprocess.run(run, env=environment, capture_output=True, check=False).returncode == -signal.SIGKILL


def test_a_killed_selection_goes_on_with_the_member_it_was_at(
    small: Path, runs: list[Path], home: Path, tmp_path: Path
) -> None:
    undisturbed = select(small, runs, "--early-stop", EASY, "--json", home=tmp_path / "other-home").json
    killed(2, *asked(small, runs, "--strategy", "mutual-information", "--early-stop", EASY), home=home)
    resumed = select(small, runs, "--early-stop", EASY, "--json", home=home).json
    assert resumed["inferred"] == 40
    assert resumed["selected"] == undisturbed["selected"]
    assert resumed["receipt"]["model"]["early_stop"] == undisturbed["receipt"]["model"]["early_stop"]


def test_guards_read_the_embeddings_of_the_first_member_as_ever(small: Path, runs: list[Path], home: Path) -> None:
    guarded = select(small, runs, "--early-stop", EASY, "--min-distance", 0.0001, "--json", home=home)
    assert guarded.code == 0, guarded.err
    receipt = guarded.json["receipt"]
    assert receipt["producers"]["embeddings"] == receipt["model"]["members"][0]["producer"]


def test_one_of_each_run_is_heard_in_turn(runs: list[Path], home: Path) -> None:
    models = open_members(Workspace.open(home), runs, checkpoints="all")
    heard = [(model.folder.name, model.checkpoint.name[9:10]) for model in in_turn(models) if model.checkpoint]
    assert heard == [("run0", "1"), ("run1", "1"), ("run0", "2"), ("run1", "2"), ("run0", "3"), ("run1", "3")]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("stabel", "did you mean 'stable'"),
        ("stable:overlap=0", "must be within (0, 1]"),
        ("stable:correlation=1.5", "must be within (0, 1]"),
        ("stable:patience=0", "patience"),
        ("stable:patience=two", "patience must be int"),
        ("stable:members=3", "unknown parameter 'members'"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_rule(rule)
    assert said in str(refused.value)


def test_where_nothing_can_be_left_out_the_rule_is_refused_before_an_image_is_read(
    small: Path, runs: list[Path], home: Path, opened_files: list[str]
) -> None:
    rule = ("--early-stop", "stable")
    assert "does not rank by one that members give" in select(small, runs, *rule, strategy="badge", home=home).complaint
    alone = command("select", small, "--model", runs[0], "--budget", 6, *rule, home=home)
    assert "give several models or --checkpoints" in alone.complaint
    arrays = command("select", "--predictions", small / "no.parquet", "--budget", 6, *rule, home=home)
    assert "--model has no part" in arrays.complaint
    patches = select(small, runs[:1], *rule, "--unit", "patch", home=home)
    assert "leaves out classifiers of an ensemble" in patches.complaint
    assert not [name for name in opened_files if name.endswith(".png")]


def test_what_a_rule_would_cost_is_told_by_the_analysis(small: Path, runs: list[Path], home: Path) -> None:
    models = [word for run in runs for word in ("--model", run)]
    given = ("ensemble", "analyse", small, *models, "--checkpoints", "all", "--budget", 6, "--json")
    easy = command(*given, "--early-stop", EASY, home=home).json
    assert (easy["enough"], easy["settled"]) == (3, True)
    never = command(*given, "--early-stop", NEVER, home=home).json
    assert (never["enough"], never["settled"], never["overlap"], never["correlation"]) == (6, False, 1.0, 1.0)
    early = {row["id"] for row in select(small, runs, "--early-stop", EASY, "--json", home=home).json["selected"]}
    whole = {row["id"] for row in select(small, runs, "--json", home=home).json["selected"]}
    assert easy["overlap"] == pytest.approx(len(early & whole) / 6)


LABELED = 20


@pytest.fixture(scope="module")
def labeled(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 digits in class folders; not to be changed."""
    folder = tmp_path_factory.mktemp("labeled") / "digits"
    for digit in sorted((digit_files / "train").iterdir()):
        (folder / digit.name).mkdir(parents=True)
        for file in sorted(digit.iterdir())[:LABELED]:
            shutil.copy(file, folder / digit.name)
    return folder


def search_file(folder: Path, data: Path, rule: str) -> Path:
    text = f"data: {data}\nscheme: build-up\nsizes: [0.25, 0.5]\nmembers: {{seeds: 2, epochs: 2}}\n"
    text += f"score: mutual-information\nmodel: mlp:8\nrecipe: {{epochs: 3}}\n{rule}\n"
    file = folder / "search.yaml"
    file.write_text(text)
    return file


def test_a_search_ranks_by_as_many_members_as_it_takes_and_says_so(labeled: Path, home: Path, tmp_path: Path) -> None:
    file = search_file(tmp_path, labeled, f'early-stop: "{EASY}"')
    stages = command("search", file, "--json", home=home).json["stages"]
    subsets = [json.loads(Path(stage["manifest"]).read_text()) for stage in stages]
    assert [len(subset["members"]) for subset in subsets] == [3, 3]
    for stage, subset in zip(stages, subsets, strict=True):
        assert stage["approx"] == subset["details"]["approx"]
        assert stage["approx"].startswith("early stop after 3 of 4 members")
        assert stage["early_stop"]["members"] == 3
        assert stage["members"] == 4
        assert len(subset["ids"]) == stage["size"]
    assert "stage 2: early stop after 3 of 4 members" in command("search", file, home=home).out
    start = Path(stages[0]["manifest"]).parents[1] / "start"
    given = [word for seed in range(2) for word in ("--model", start / f"seed-{seed}")]
    left = command("predict", labeled, *given, "--checkpoints", "last=2", "--json", home=home).json
    # The first ensemble is not measured: of the held-out samples nobody was asked, of the others one was not.
    assert left["inferred"] == 4 * 40 + 160


def test_a_search_by_a_rule_that_never_holds_finds_the_same(labeled: Path, home: Path, tmp_path: Path) -> None:
    never = command("search", search_file(tmp_path, labeled, f'early-stop: "{NEVER}"'), "--json", home=home).json
    plain = command("search", search_file(tmp_path, labeled, ""), "--json", home=home).json
    for one, other in zip(never["stages"], plain["stages"], strict=True):
        first, second = (json.loads(Path(stage["manifest"]).read_text()) for stage in (one, other))
        assert (first["ids"], first["hash"], first["members"]) == (second["ids"], second["hash"], second["members"])
        assert (one["accuracy"], one["single"], one["approx"]) == (other["accuracy"], other["single"], "")


def test_a_killed_search_stops_where_an_undisturbed_one_does(labeled: Path, home: Path, tmp_path: Path) -> None:
    file = search_file(tmp_path, labeled, f'early-stop: "{EASY}"')
    undisturbed = command("search", file, "--json", home=tmp_path / "other-home").json["stages"]
    killed(1, "search", file, home=home)
    killed(5, "search", file, home=home)
    stages = command("search", file, "--json", home=home).json["stages"]
    for one, other in zip(stages, undisturbed, strict=True):
        first, second = (json.loads(Path(stage["manifest"]).read_text()) for stage in (one, other))
        assert (first["ids"], first["details"]) == (second["ids"], second["details"])
        assert one["accuracy"] == other["accuracy"]


def test_a_search_whose_score_members_do_not_rank_refuses_the_rule(labeled: Path, home: Path, tmp_path: Path) -> None:
    file = search_file(tmp_path, labeled, "early-stop: stable")
    file.write_text(file.read_text().replace("mutual-information", "core-set"))
    assert "does not rank by one that members give" in command("search", file, home=home).complaint
