"""Run files: what they may say, what is refused, and when two of them mean the same run."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.app.runs.files import KEYS, RunFile, read_run_file, run_of
from foresift.core.errors import UsageError

SMALLEST = """
pool: digits/            # folder, manifest or URI prefix
oracle: folders          # class folders are the truth; or: people, files
model: resnet8
strategy: margin         # or auto
rounds: 8
budget: 27               # labels a round
seed: 0
"""
DEFAULTS = """
evaluation: a stratified fifth of the pool chosen by id, never trained on      # or a folder
initial: random          # round 1 has no model; or auto (cold start); it counts as a round
max_labels: 216          # rounds x budget; auto keeps within it
target: none             # stop at this accuracy
"""
PLAIN = {"pool": "p", "oracle": "people", "model": "resnet8", "strategy": "margin", "rounds": 2, "budget": 5}


def written(folder: Path, text: str) -> RunFile:
    file = folder / "run.yaml"
    file.write_text(text)
    return read_run_file(file)


def refused(**changed: object) -> str:
    with pytest.raises(UsageError) as caught:
        run_of({**PLAIN, **changed}, base=Path("/base"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_smallest_file_and_its_defaults_spelled_out_are_one_run(tmp_path: Path) -> None:
    short, long = written(tmp_path, SMALLEST), written(tmp_path, SMALLEST + DEFAULTS)
    assert short == long
    assert short.identity("pool") == long.identity("pool") != short.identity("another pool")
    assert (short.pool, short.most_labels, short.target) == (str(tmp_path / "digits"), 216, None)


def test_another_run_has_another_identity_and_the_same_keeps_it() -> None:
    run = run_of(PLAIN, base=Path("/base"))
    assert run.identity("p") == RunFile.from_dict(run.to_dict()).identity("p")
    others = [replace(run, **change) for change in ({"seed": 1}, {"budget": 6}, {"recipe": {"epochs": 3}})]
    assert len({one.identity("p") for one in [run, *others]}) == 4


def test_what_a_later_version_adds_does_not_make_another_run_of_it() -> None:
    run = run_of(PLAIN, base=Path("/base"))
    older = {key: value for key, value in run.to_dict().items() if key not in ("guards", "converge")}
    assert RunFile.from_dict({**older, "from_the_future": 1}) == run


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"startegy": "margin"}, "unknown key 'startegy'; did you mean 'strategy'?"),
        ({"rounds": "many"}, "rounds: expected a whole number of 1 or more, got 'many'"),
        ({"rounds": True}, "rounds: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number of 0 or more, got -1"),
        ({"pool": None}, "key pool is missing"),
        ({"strategy": "loss"}, "looks at the labels it is to buy"),
        ({"recipe": {"lr": "fast"}}, "recipe: lr must be a number, got 'fast'"),
        ({"recipe": {"momentum": True}}, "recipe: momentum must be a number, got True"),
        ({"recipe": {"head": 5}}, "recipe: head must be linear or mlp:WIDTH, got 5"),
        ({"recipe": {"epochs": 0}}, "recipe: epochs must be a whole number of at least 1, got 0"),
        ({"recipe": {"epoch": 1}}, "unknown field 'epoch'; did you mean 'epochs'?"),
        ({"guards": {"max_per_clas": 1}}, "did you mean 'max_per_class'?"),
        ({"quota": 9}, "quota 9 is above the budget of 5"),
        ({"oracle": "folders", "quota": 3}, "quota and closes are for rounds that wait"),
        ({"closes": "soon"}, "closes: expected a date such as 2030-12-31, or a time after asking such as 7 days"),
        ({"target": 0.9, "evaluation": "none"}, "target needs an evaluation set"),
        ({"agent": "psea"}, "agent: expected pshea or shared or fixed"),
        ({"strategies": ["margin", "random"]}, "strategies is for runs that try several strategies"),
        ({"strategies": ["margin", "random"], "control": "random"}, "strategies is for runs"),
        ({"strategies": ["margin"], "strategy": "auto", "agent": "fixed"}, "strategies is for runs"),
        ({"strategies": ["margin"], "strategy": "auto", "evaluation": "none"}, "strategies is for runs"),
        ({"guard": True}, "guard is for runs that try several strategies"),
        ({"agent": "shared"}, "agent is for runs that try several strategies"),
        ({"charge": "per_strategy"}, "charge is for runs that try several strategies"),
        ({"strategies": ["margin", "margin"]}, "strategies: expected a list of different strategies"),
        ({"label_price": -1}, "label_price: expected the price of one label"),
    ],
)
def test_a_mistake_is_told_in_one_line(changed: dict[str, object], complaint: str) -> None:
    assert complaint in refused(**changed)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [", "just words", "!!python/object:os.system {}", "\x00"])
def test_what_is_no_run_file_at_all_is_refused_and_nothing_is_run(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="expected lines of the form key: value"):
        written(tmp_path, text)


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        ("seed: 1\n", r"run.yaml, line 9: key seed stands in line 8 already; keep one"),
        ("recipe:\n  lr: 0.1\n  epochs: 3\n  lr: 0.2\n", "line 12: key lr stands in line 10 already"),
        ("recipe: {lr: 0.1, lr: 0.1}\n", "line 9: key lr stands in line 9 already"),
        ("guards: &same {max_per_class: 2}\nrecipe: [*same, {a: 1, a: 2}]\n", "line 10: key a"),
    ],
)
def test_a_key_that_stands_twice_is_refused_even_with_the_same_value(
    tmp_path: Path, added: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        written(tmp_path, SMALLEST + added)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_run_file(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match="is a folder"):
        read_run_file(tmp_path)


ODD = (
    None,
    True,
    False,
    -1,
    0,
    1,
    7,
    0.5,
    math.nan,
    math.inf,
    10**30,
    "",
    " ",
    "none",
    "92 %",
    "%",
    "a:b=c",
    [],
    ["a"],
    {},
)


@given(st.dictionaries(st.sampled_from([*KEYS, "other"]), st.sampled_from(ODD), max_size=3))
def test_any_values_give_a_run_or_one_line(changed: dict[str, object]) -> None:
    told = ""
    try:
        run = run_of({**PLAIN, **changed}, base=Path("/base"))
    except UsageError as error:
        told = str(error)
    else:
        assert RunFile.from_dict(run.to_dict()) == run
    assert "\n" not in told


def test_what_an_agent_reads_is_taken_where_there_is_one() -> None:
    auto = {**PLAIN, "strategy": "auto", "strategies": ["margin", "random"]}
    assert run_of({**auto, "guard": True, "charge": "per_strategy"}, base=Path("/base")).guard
    assert run_of({**auto, "agent": "shared"}, base=Path("/base")).strategies == ["margin", "random"]
    assert run_of({**PLAIN, "strategy": "auto", "agent": "fixed"}, base=Path("/base")).agent == "fixed"
    assert run_of({**PLAIN, "control": "random", "charge": "per_strategy"}, base=Path("/base")).tries


def test_shares_prices_and_times_are_read_as_people_write_them() -> None:
    run = run_of({**PLAIN, "target": "92 %", "closes": "7 days", "label_price": 2}, base=Path("/base"))
    assert (run.target, run.label_price) == (0.92, 2.0)
    asked = datetime(2030, 1, 1, tzinfo=UTC)
    assert run.closing_time(asked) == "2030-01-08T00:00:00+00:00"
    dated = run_of({**PLAIN, "closes": "2030-12-31"}, base=Path("/base"))
    assert dated.closing_time(asked) == "2030-12-31T00:00:00+00:00"
    assert run_of(PLAIN, base=Path("/base")).closing_time(asked) is None


def test_addresses_start_at_the_file() -> None:
    run = run_of({**PLAIN, "evaluation": "test", "model": "./backbone"}, base=Path("/base"))
    assert (run.pool, run.evaluation, run.model) == ("/base/p", "/base/test", "/base/backbone")
    assert run_of({**PLAIN, "pool": "s3://bucket/images"}, base=Path("/base")).pool == "s3://bucket/images"


def test_a_control_arm_doubles_what_is_bought() -> None:
    run = run_of({**PLAIN, "control": "random"}, base=Path("/base"))
    assert run.tries
    assert run.most_labels == 5 + 2 * 5
    heir = run_of({**PLAIN, "control": "random", "inherit": "deployed"}, base=Path("/base"))
    assert (heir.most_labels, heir.first_labels) == (2 * 2 * 5, 0), "both arms buy in the first round, too"
