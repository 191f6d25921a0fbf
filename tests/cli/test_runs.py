"""``foresift run`` and ``foresift runs`` from the first label to the last."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from commands import command
from run_files import write_run


@pytest.fixture(scope="module")
def digits(digit_files: Path) -> Path:
    return digit_files / "test"


def test_a_run_ends_with_its_rounds_and_repeated_reports_them(digits: Path, tmp_path: Path) -> None:
    file, home = write_run(tmp_path, digits), tmp_path / "home"
    told = command("run", file, "--json", home=home).json
    assert [len(one["selected"]) for one in told["rounds"]] == [10, 10, 10]
    assert [one["labels"] for one in told["rounds"]] == [10, 20, 30]
    assert all(0 <= one["metrics"]["top1"] <= 1 and one["metrics"]["n"] == 90 for one in told["rounds"])
    asked = [sample for one in told["rounds"] for sample in one["selected"]]
    assert len(set(asked)) == 30
    assert told["state"] == "finished"
    assert command("run", file, "--json", home=home).json == told

    listed = command("runs", "list", "--json", home=home).json["runs"]
    assert [(one["run"], one["state"], one["rounds"], one["labels"]) for one in listed] == [
        (told["run"], "finished", 3, 30)
    ]
    assert command("runs", "show", told["run"][:6], "--json", home=home).json == told
    shown = command("runs", "show", told["run"], home=home)
    assert "finished: the budget is used up" in shown.out


def test_generations_of_a_run_know_its_receipts_and_may_be_inherited_from(digits: Path, tmp_path: Path) -> None:
    file, home = write_run(tmp_path, digits, rounds=2, hardware="jetson-tx2"), tmp_path / "home"
    told = command("run", file, "--json", home=home).json
    first, second = command("generations", "list", "--json", home=home).json["generations"]
    receipts = [one["receipt"] for one in told["rounds"]]
    assert (first["receipts"], second["receipts"]) == (receipts[:1], receipts)
    assert [part["surrogates"] for part in second["brought"]] == [[], [first["generation"]]]
    assert (first["run"], second["run"], second["number"]) == (told["run"], told["run"], 2)
    assert (first["target"], second["target"]) == ("jetson-tx2", "jetson-tx2")
    assert [one["metrics"]["evaluation"] for one in (first, second)] == [one["metrics"] for one in told["rounds"]]
    shown = command("generations", "lineage", second["generation"], home=home).out
    assert f"{100 * told['rounds'][1]['metrics']['top1']:.1f} % on the evaluation set of run {told['run']}" in shown
    (tmp_path / "next").mkdir()
    after = write_run(tmp_path / "next", digits, rounds=2, model="mlp:4", inherit=told["run"])
    went = command("run", after, "--json", home=home).json
    assert [one["strategy"] for one in went["rounds"]] == ["margin", "margin"]
    assert [one["labels"] for one in went["rounds"]] == [30, 40], "20 labels were there already"
    made = [one for one in command("generations", "list", "--json", home=home).json["generations"] if one["heir_of"]]
    assert [one["heir_of"] for one in made] == [second["generation"]] * 2
    assert [one["target"] for one in made] == [None, None], "nobody said what the heirs are meant for"
    assert made[0]["receipts"] == [*receipts, went["rounds"][0]["receipt"]]
    assert made[0]["brought"][2]["surrogates"] == [second["generation"]], "the ancestor chose the first labels"
    chosen = [sample for one in (*told["rounds"], *went["rounds"]) for sample in one["selected"]]
    assert len(set(chosen)) == len(chosen) == 40
    out = tmp_path / "heir"
    heir = command("inherit", told["run"], "--model", "mlp:4", "--epochs", 1, "--out", out, "--json", home=home).json
    assert (heir["heir_of"], heir["inherited"]) == (second["generation"], 20)


def test_a_cancelled_run_stays_so_until_it_is_resumed(digits: Path, tmp_path: Path) -> None:
    file, home = write_run(tmp_path, digits, rounds=1), tmp_path / "home"
    from foresift.app.runs.lifecycle import start_run
    from foresift.app.workspace import Workspace

    run = start_run(Workspace.open(home), file).id
    assert command("runs", "cancel", run, "--json", home=home).json["state"] == "cancelled"
    told = command("run", file, home=home)
    assert "is cancelled" in told.out
    assert f"foresift runs resume {run}" in told.out
    assert command("runs", "resume", run, "--json", home=home).json["state"] == "finished"
    assert "was finished already" in command("runs", "cancel", run, home=home).out


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"bugdet": 3}, "unknown key 'bugdet'; did you mean 'budget'?"),
        ({"budget": 0}, "budget: expected a whole number of labels a round, 1 or more, got 0"),
        ({"budget": 1000}, "budget 1000 is more than the 360 samples"),
        ({"rounds": 40}, "400 labels in 40 rounds are more than the 360 samples"),
        ({"strategy": "margn"}, "did you mean 'margin'?"),
        ({"model": None}, "key model is missing"),
        ({"pool": "nowhere"}, "no such file or folder"),
        ({"oracle": "folder"}, "unknown oracle 'folder'; did you mean 'folders'?"),
        ({"target": 92}, "target: expected none, or an accuracy above 0 and at most 1"),
        ({"recipe": {"epoch": 3}}, "did you mean 'epochs'?"),
        ({"hardware": "jetson-tx3"}, "unknown device 'jetson-tx3'; did you mean 'jetson-tx2'?"),
        ({"control": "random", "strategy": "auto"}, "control: random compares one strategy"),
    ],
)
def test_a_run_file_that_makes_no_sense_is_told_what_is_wrong(
    digits: Path, tmp_path: Path, changed: dict[str, object], complaint: str
) -> None:
    answer = command("run", write_run(tmp_path, digits, **changed), home=tmp_path / "home")
    assert answer.code == 2
    assert complaint in answer.complaint
    assert command("runs", "list", "--json", home=tmp_path / "home").json["runs"] == []


@pytest.mark.parametrize(
    ("model", "code", "complaint"),
    [("resnet88", 2, "unknown model 'resnet88'"), ("0123456789ab", 1, "no generation '0123456789ab'")],
)
def test_a_model_that_does_not_exist_is_refused_before_anything_is_stored(
    digits: Path, tmp_path: Path, model: str, code: int, complaint: str
) -> None:
    home = tmp_path / "home"
    answer = command("run", write_run(tmp_path, digits, model=model), home=home)
    assert (answer.code, complaint in answer.complaint) == (code, True)
    assert not (home / "runs").exists()
    assert command("runs", "list", "--json", home=home).json["runs"] == []


@pytest.mark.usefixtures("in_process")
def test_labels_are_counted_when_they_are_given_not_when_they_are_asked_for(digits: Path, tmp_path: Path) -> None:
    file, home = write_run(tmp_path, digits, oracle="files", rounds=2, budget=6), tmp_path / "home"
    waiting = command("run", file, "--json", home=home).json
    assert (waiting["asked"], waiting["labels"]) == (6, 0)
    sheet = home / "inbox" / waiting["run"] / "round-1.csv"
    with sheet.open() as lines:
        asked = list(csv.DictReader(lines))
    answers = tmp_path / "answers.csv"
    answers.write_text("id,label\n" + "".join(f"{one['id']},{Path(one['uri']).parent.name}\n" for one in asked[:4]))
    assert command("labels", "import", answers, home=home).code == 0
    (listed,) = command("runs", "list", "--json", home=home).json["runs"]
    assert (listed["asked"], listed["labels"]) == (6, 4)
    assert " 4 " in command("runs", "list", home=home).out.splitlines()[1]
    answers.write_text("id,label\n" + "".join(f"{one['id']},cannot tell\n" for one in asked[4:]))
    assert command("labels", "import", answers, home=home).code == 0
    told = command("run", file, "--json", home=home).json
    assert (told["asked"], told["labels"]) == (12, 4), "who cannot tell gives no label"
    assert [one["labels"] for one in told["rounds"]] == [4, 0]
