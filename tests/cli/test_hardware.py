"""``foresift hardware`` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import command

pytestmark = pytest.mark.timeout(600)


def test_the_arithmetic_alone(home: Path) -> None:
    answer = command("hardware", "--gops", 60.3, "--tops", 1.3, home=home)
    assert answer.out.startswith("46.4 ms theoretical")
    told = command("hardware", "--gops", 60.3, "--fps", 30, "--json", home=home).json
    assert [(one["device"], one["fits"]) for one in told["devices"]] == [
        ("jetson-tx2", False),
        ("xavier", True),
        ("orin", True),
    ]


def test_models_beside_each_other_and_what_keeps_up(generation: Path, home: Path) -> None:
    told = command("hardware", generation, "mlp:8", "--fps", 30, "--size", 8, "--json", home=home).json
    trained, small = told["models"]
    assert small["gops"] == 2 * small["gmacs"] == pytest.approx(2e-9 * (3 * 64 * 8 + 8 * 10))
    assert small["devices"][0]["theoretical_ms"] == pytest.approx(small["gops"] / 1.3)
    assert trained["measured"]["median_ms"] > 0
    assert told["fitting"]["orin"] == [str(generation), "mlp:8"]  # the largest first


def test_a_pool_costs_what_is_not_in_the_store(generation: Path, pool: Path, home: Path) -> None:
    ask = ("hardware", generation, "--pool", pool, "--no-measure", "--json")
    before = command(*ask, home=home).json["models"][0]["pool"]
    assert before["stored"] == 0
    assert before["seconds"] > 0
    assert command("predict", pool, "--model", generation, "--engine", "torch-f32", home=home).code == 0
    after = command(*ask, home=home).json["models"][0]["pool"]
    assert after["stored"] == after["images"] == before["images"]
    assert after["seconds"] == 0


def test_own_devices_are_merged_by_name(home: Path, tmp_path: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / "devices.yml").write_text("devices:\n  mine: {tops: 2}\n  orin: {tops: 275}\n")
    file = tmp_path / "more.yml"
    file.write_text("devices: {mine: {tops: 4, note: twice}}\n")
    told = command("hardware", "--gops", 1, "--devices", file, "--json", home=home).json
    assert {one["device"]: one["tops"] for one in told["devices"]} == {
        "jetson-tx2": 1.3,
        "xavier": 21,
        "orin": 275,
        "mine": 4,
    }


@pytest.mark.parametrize(
    ("table", "says"),
    [("devices: {mine: {note: fast}}", "mine has no tops"), ("devices: [", "not YAML"), ("[1]", "devices:")],
)
def test_a_device_table_without_tops_is_refused(table: str, says: str, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "devices.yml"
    file.write_text(table)
    answer = command("hardware", "--gops", 1, "--devices", file, home=home)
    assert answer.code == 1
    assert says in answer.complaint


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--tops", 3], "--tops goes with --gops"),
        (["--gops", 0, "--tops", 3], "GOPs must be a number above 0"),
        (["resnet88"], "did you mean"),
        (["linear", "--size", "big"], "--size 'big'"),
        (["unet:resnet18"], "--size WxH"),
        (["linear", "--fps", 0], "frames a second"),
        (["linear", "--pool", "x"], "no generation 'linear'"),
        ([], "this workspace knows none yet"),
    ],
)
def test_wrong_requests_are_one_line(line: list[object], says: str, home: Path) -> None:
    answer = command("hardware", *line, home=home)
    assert answer.code in (1, 2)
    assert says in answer.complaint
