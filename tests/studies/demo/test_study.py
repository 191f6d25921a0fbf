"""The demo's protocol is paired, honest, and repeatable."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foresift.app.models.opening import open_model
from foresift.app.passes.stored import PassOptions
from foresift.app.selecting.receipts import replay
from foresift.app.training.evaluating import evaluate
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, UnknownNameError, UsageError
from foresift.core.protocols import Silent
from foresift.stores.generations import read_generation
from foresift.strategies import parse
from foresift.studies.demo.study import CHOSEN, RANDOM, ROLES, Bench, Protocol, run
from studies.conftest import SMALL


def bench(folder, protocol=SMALL) -> Bench:
    return Bench.open(protocol, parse(protocol.strategy), folder, home=None, progress=Silent())


def test_both_arms_start_from_the_same_labels_and_grow_alike(results):
    for one in results.runs:
        assert one.ids[CHOSEN][: SMALL.budget] == one.ids[RANDOM][: SMALL.budget]
        assert len(one.ids[CHOSEN]) == len(one.ids[RANDOM]) == SMALL.rounds * SMALL.budget
        assert one.ids[CHOSEN] != one.ids[RANDOM]


def test_no_id_is_bought_twice(results):
    for one in results.runs:
        for ids in one.ids.values():
            assert len(set(ids)) == len(ids)


def test_seeds_start_differently(results):
    first, second = (set(one.ids[RANDOM][: SMALL.budget]) for one in results.runs)
    assert first != second


def test_test_images_are_never_chosen_from(folder, results):
    opened = bench(folder)
    held_out = set(opened.test.pool.digests.tolist())
    assert held_out.isdisjoint(opened.pool.pool.digests.tolist())
    assert len(held_out) == results.test == 450
    pool = set(opened.pool.pool.ids.tolist())
    assert all(pool.issuperset(ids) for one in results.runs for ids in one.ids.values())


def test_both_arms_share_the_model_of_the_start(results):
    for one in results.runs:
        for role in ROLES:
            assert one.accuracy[role][CHOSEN][0] == one.accuracy[role][RANDOM][0]


def test_every_generation_differs_only_in_labels_model_and_seed(folder, results):
    records = [read_generation(path) for path in sorted((folder / "generations").iterdir())]
    assert {record.parent for record in records} == {None}
    assert len({json.dumps({**record.recipe, "start": ""}, sort_keys=True) for record in records}) == 1
    assert {record.data["labeled"] for record in records} == set(SMALL.sizes)


def test_accuracy_is_what_foresift_evaluate_says(folder, results):
    workspace = Workspace.open(folder / "home")
    one = results.runs[0]
    measured = evaluate(workspace, folder / "digits" / "test", one.inherited, options=PassOptions(engine="torch"))
    assert measured.metrics["top1"] == one.accuracy[ROLES[1]][CHOSEN][-1]


def test_the_way_through_memory_chooses_what_the_way_through_the_store_does(folder, results):
    one = results.runs[0]
    assert [run.path for run in results.runs] == ["store", "memory"]
    opened = bench(folder)
    for turn in one.turns:
        model = open_model(opened.workspace, turn.generation)
        known = list(one.ids[CHOSEN][: turn.labels])
        picked = opened._select_in_memory(model, known, seed=0, number=turn.round)
        assert picked.sample_ids.tolist() == one.ids[CHOSEN][turn.labels : turn.labels + SMALL.budget]


def test_selections_of_the_first_seed_can_be_replayed(folder, results):
    receipt = folder / "selections" / f"seed-0-round-{SMALL.rounds}.csv.receipt.json"
    again = replay(Workspace.open(folder / "home"), str(receipt))
    assert again.selection.sample_ids.tolist() == results.runs[0].ids[CHOSEN][-SMALL.budget :]


def test_gallery_shows_unlabeled_images_most_informative_first(folder, results):
    gallery = results.gallery
    most, least = ([one.score for one in half] for half in (gallery.most, gallery.least))
    assert most == sorted(most, reverse=True)
    assert least == sorted(least)
    assert least[-1] <= most[-1]
    known = set(results.runs[0].ids[CHOSEN][: -SMALL.budget])
    assert known.isdisjoint(one.id for one in (*gallery.most, *gallery.least))
    # A strategy that ranks by the score shown took the most informative ones, in this order.
    assert [one.id for one in gallery.most] == results.runs[0].ids[CHOSEN][-SMALL.budget :][: len(most)]
    assert all((folder / one.uri).is_file() for one in (*gallery.most, *gallery.least))


def test_a_repeated_call_trains_nothing_and_gives_the_same(folder, results):
    def weights():
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}

    before, kept = weights(), (folder / "results.json").read_bytes()
    assert run(SMALL, folder) == results
    assert weights() == before
    assert (folder / "results.json").read_bytes() == kept


def test_a_run_from_nothing_gives_the_same(tmp_path, results):
    again, before = run(replace(SMALL, seeds=1), tmp_path).runs[0], results.runs[0]
    # Ids of generations and receipts tell where the pool lies.
    assert (again.ids, again.accuracy) == (before.ids, before.accuracy)


def test_nothing_is_left_outside_the_folder(tmp_path, monkeypatch, results):
    for name in ("HOME", "FORESIFT_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    run(replace(SMALL, seeds=1, rounds=2), tmp_path / "demo")
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_strategy_without_a_score_shows_images_by_margin(tmp_path, monkeypatch, results):
    monkeypatch.chdir(tmp_path)  # relative and roundabout folders are folders too
    done = run(replace(SMALL, seeds=1, rounds=2, strategy="random"), Path("a/../b"))
    assert done.strategy == "random"
    assert done.gallery.score == "margin"
    assert all((Path("b") / one.uri).is_file() for one in done.gallery.most)
    assert done.runs[0].ids[CHOSEN] != done.runs[0].ids[RANDOM]


def test_sizes_hold_the_start_and_the_end():
    assert Protocol().sizes == (27, 54, 108, 162, 216)
    assert Protocol(rounds=2, budget=5).sizes == (5, 10)
    assert Protocol(rounds=5, budget=1).sizes == (1, 2, 4, 5)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"seeds": 0}, UsageError),
        ({"rounds": 1}, UsageError),
        ({"budget": 0}, UsageError),
        ({"strategy": "marginn"}, UnknownNameError),
        ({"first": "mpl:16"}, UnknownNameError),
    ],
)
def test_nonsense_is_refused_before_any_work(tmp_path, wrong, error):
    with pytest.raises(error):
        run(Protocol(**wrong), tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def test_more_labels_than_images_are_refused(tmp_path):
    with pytest.raises(BudgetError, match="1400 labels, of 1347"):
        run(Protocol(rounds=2, budget=700), tmp_path)


def test_results_file_holds_the_table(folder, results):
    stored = json.loads((folder / "results.json").read_text())
    last = len(stored["sizes"]) - 1
    chosen, random = (
        np.array([one["accuracy"]["generation 2"][arm][last] for one in stored["runs"]]) for arm in (CHOSEN, RANDOM)
    )
    pair = results.paired("generation 2", stored["sizes"][last])
    assert pair.differences == pytest.approx(chosen - random)
