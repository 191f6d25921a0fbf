"""The study of ensembles at its smallest: every cell, the page, the picture; taken up where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foresift.core.errors import UsageError
from foresift.studies.ensembles import bench as benches
from foresift.studies.ensembles.bench import Bench
from foresift.studies.ensembles.presets import PRESETS, Preset
from foresift.studies.ensembles.report import verdicts, write
from foresift.studies.ensembles.study import Cell, Comparison, kinds, run
from foresift.studies.image_sets import image_set

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    """One trial of the smoke preset, and where it lies."""
    folder = tmp_path_factory.mktemp("study")
    setting = replace(PRESETS["smoke"].sets["digits"], trials=2, recipe={"epochs": 2}, longest=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(PRESETS, "smoke", Preset(sets={"digits": setting}))
        return folder, run(folder, preset="smoke")


def test_every_comparison_has_its_cells_and_sizes(compared: tuple[Path, Comparison]) -> None:
    _, comparison = compared
    setting = PRESETS["smoke"].sets["digits"]
    assert {cell.kind for cell in comparison.cells} == set(kinds(setting))
    grown = comparison.of("digits", "build-up mutual-information")
    assert len(grown) == 2
    assert grown[0].sizes == (168, 337, 674)
    consensus = comparison.of("digits", "consensus")[0].counts
    assert consensus["joint"] == sorted(consensus["joint"], reverse=True)
    assert all(pair >= joint for pair, joint in zip(consensus["pairs"], consensus["joint"][1:], strict=True))


def test_finished_cells_are_not_made_again(compared: tuple[Path, Comparison], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, comparison = compared
    setting = replace(PRESETS["smoke"].sets["digits"], trials=2, recipe={"epochs": 2}, longest=2)
    monkeypatch.setitem(PRESETS, "smoke", Preset(sets={"digits": setting}))
    monkeypatch.setattr(benches, "_learn", None)
    assert run(folder, preset="smoke").cells == comparison.cells


def test_more_trials_redo_nothing_and_another_engine_redoes_everything(tmp_path: Path) -> None:
    images = image_set("digits", tmp_path, cache=tmp_path)
    setting = PRESETS["smoke"].sets["digits"]
    digests = [
        Bench(images=images, setting=replace(setting, **changed), folder=tmp_path).digest
        for changed in ({}, {"trials": 9}, {"engine": "openvino-f32"}, {"runs": 3})
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_pool_that_nothing_ranks_by_is_not_asked_about(tmp_path: Path) -> None:
    images = image_set("digits", tmp_path, cache=tmp_path)
    bench = Bench(images=images, setting=PRESETS["smoke"].sets["digits"], folder=tmp_path)
    rows = bench.start(0)
    quiet, asked = (bench.several(rows, trial=0, runs=1, ranks=ranks) for ranks in (False, True))
    assert (quiet.pool.shape[1], asked.pool.shape[1]) == (0, len(images.codes))
    assert quiet.test.tobytes() == asked.test.tobytes()
    assert bench.several(rows, trial=0, runs=1).pool.shape[1] == 0


def test_the_page_says_what_holds_and_shows_the_picture(compared: tuple[Path, Comparison], tmp_path: Path) -> None:
    _, comparison = compared
    page, picture = write(comparison, tmp_path)
    text = page.read_text()
    assert all(verdict.sentence() in text for verdict in verdicts(comparison))
    assert all(f"Table {number}" in text for number in range(1, 6))
    assert picture.stat().st_size > 10_000


def test_a_verdict_holds_only_beyond_two_standard_errors() -> None:
    from foresift.studies.ensembles.report import Verdict
    from foresift.studies.paired import Paired

    def outcome(chosen: tuple[float, ...]) -> str:
        return Verdict(images="x", claim="y", pair=Paired(chosen=chosen, random=(0.5, 0.5, 0.5))).outcome

    assert outcome((0.6, 0.61, 0.62)) == "holds"
    assert outcome((0.4, 0.41, 0.42)) == "does not hold"
    assert outcome((0.4, 0.51, 0.6)) == "undecided"


def test_an_unknown_preset_or_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="preset must be one of"):
        run(tmp_path, preset="tiny")
    with pytest.raises(UsageError, match="no image set 'mnist'"):
        run(tmp_path, preset="smoke", only=["mnist"])
    assert Cell.from_dict({"images": "a", "kind": "b", "trial": 0, "sizes": [1]}).sizes == (1,)
