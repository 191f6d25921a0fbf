"""The transfer study at a minute size: every cell once, resumed, counted and reported as it is."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from multiprocessing import active_children
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from matplotlib.figure import Figure

from foresift.core.errors import DataError, StoreError, UnknownNameError, UsageError
from foresift.studies.paired import Paired
from foresift.studies.surrogates.analysis import Grid, ceiling, grid, predictions, rankings, spreads
from foresift.studies.surrogates.bench_of import bench_of, digits
from foresift.studies.surrogates.benches import HeadBench, PixelBench, Taught, UnfitError, pixels_as_embeddings
from foresift.studies.surrogates.cells import Cells
from foresift.studies.surrogates.config import protocols, read_config
from foresift.studies.surrogates.estimate import estimates
from foresift.studies.surrogates.html import html
from foresift.studies.surrogates.names import COLUMNS
from foresift.studies.surrogates.pictures import curves_panel, shade
from foresift.studies.surrogates.presets import PRESETS
from foresift.studies.surrogates.protocol import AUTO, TRUE_LOSS, Lessons, Protocol
from foresift.studies.surrogates.report import write
from foresift.studies.surrogates.sheets import counts_sheet, refusals, spread_sheet, suitability
from foresift.studies.surrogates.study import Study, cells_of, run
from foresift.studies.surrogates.text import (
    CSV_COLUMNS,
    csv_text,
    markdown,
    matrix,
    page,
    section,
    summaries,
    verdicts,
)

SMALL = Protocol(
    title="minute",
    models=("linear", "mlp:4"),
    strategies=("margin", "true-loss", "auto"),
    cycles=3,
    budget=20,
    seeds=1,
    pilots=1,
    recipe=Lessons(epochs=3),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return run(folder, [SMALL], name="minute")


@pytest.fixture(scope="module")
def two_seeds(folder: Path) -> Study:
    return run(folder, [replace(SMALL, seeds=2, strategies=("margin", "true-loss"))], name="minute")


def cells(folder: Path, protocol: Protocol = SMALL) -> Cells:
    return Cells(bench=bench_of(protocol, folder, None), protocol=protocol, folder=folder)


def test_everyone_starts_alike_and_grows_alike(study: Study, folder: Path) -> None:
    made = cells(folder)
    start = made.start(0)
    for strategy, model in (("random", ""), ("margin", "linear"), ("margin", "mlp:4"), ("true-loss", "mlp:4")):
        sets = made.choices(strategy, model, 0)
        assert [len(rows) for rows in sets] == [20, 40, 60]
        assert np.array_equal(sets[0], start)
        assert all(len(np.unique(rows)) == len(rows) for rows in sets)
        assert all(np.array_equal(later[: len(rows)], rows) for rows, later in pairwise(sets))
    assert made.trained == 0, "all of this was known already"
    assert made.choices("random", "", 1)[0].tolist() != start.tolist()


def test_a_resumed_study_trains_nothing(study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished cell was trained again")

    assert study.tables[0].trained > 0
    monkeypatch.setattr(PixelBench, "teach", never)
    again = run(folder, [SMALL], name="minute")
    assert again.tables[0].trained == 0
    assert csv_text(again) == csv_text(study)


def test_no_training_happens_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, ...]] = []
    teach = PixelBench.teach

    def watched(self: PixelBench, model: str, rows: np.ndarray, *, seed: int, needs: tuple[str, ...] = ()) -> object:
        seen.append((model, tuple(rows.tolist()), seed, tuple(needs)))
        return teach(self, model, rows, seed=seed, needs=needs)

    monkeypatch.setattr(PixelBench, "teach", watched)
    run(tmp_path, [replace(SMALL, models=("linear", "mlp:4", "mlp:5"))], name="minute")
    assert len(set(seen)) == len(seen)


def test_an_interrupted_study_goes_on_after_its_last_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole", [SMALL], name="minute")
    teach, left = PixelBench.teach, [7]

    def dying(self: PixelBench, *args: object, **kwargs: object) -> object:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return teach(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(PixelBench, "teach", dying)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", [SMALL], name="minute")
    monkeypatch.setattr(PixelBench, "teach", teach)
    rest = run(tmp_path / "cut", [SMALL], name="minute")
    assert csv_text(rest) == csv_text(whole)
    # What a model became is on file, the model itself is not: a choice that was not made yet needs it once more.
    assert whole.tables[0].trained - 7 <= rest.tables[0].trained <= whole.tables[0].trained - 7 + len(SMALL.models)


def test_longer_and_wider_studies_keep_what_there_is(study: Study, folder: Path) -> None:
    files = {path.name for path in (folder / "cells").iterdir()}
    wider = run(folder, [replace(SMALL, models=("linear", "mlp:4", "mlp:5"))], name="minute")
    assert files <= {path.name for path in (folder / "cells").iterdir()}
    assert 0 < wider.tables[0].trained < study.tables[0].trained * 2
    other = replace(SMALL, recipe=Lessons(epochs=2), pilots=0, strategies=("margin",), models=("linear",))
    assert run(folder, [other], name="minute").tables[0].trained > 0, "another recipe is another study"


def test_pixels_on_disk_teach_the_same_as_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digits()
    np.save(tmp_path / "pixels.npy", whole.pixels)
    lessons = Lessons(epochs=2, augment="flip-crop")
    held = PixelBench(images=whole, lessons=lessons, look=lambda: np.zeros((1, 1), np.float32))
    on_disk = replace(held, images=replace(whole, pixels=np.load(tmp_path / "pixels.npy", mmap_mode="r")))
    rows = np.arange(7, 300, 2)
    first = held.teach("cnn:4", rows, seed=0)
    monkeypatch.setattr("foresift.studies.surrogates.benches.ON_DEVICE", 0)
    second = on_disk.teach("cnn:4", rows, seed=0)
    assert np.array_equal(first.columns["logits"](), second.columns["logits"]())
    assert (first.quality, first.fit) == (second.quality, second.fit)


def test_processes_find_the_same(study: Study, two_seeds: Study, tmp_path: Path) -> None:
    both = run(tmp_path, [two_seeds.tables[0].protocol], name="minute", workers=2)
    assert csv_text(both) == csv_text(two_seeds)


def test_gains_are_paired_with_the_same_seed(two_seeds: Study) -> None:
    table = two_seeds.tables[0]
    made = grid(table, "margin")
    for (a, b), pair in made.cells.items():
        assert pair.chosen == tuple(one.inherited["margin"][a, b].quality for one in table.seeds)
        assert pair.random == tuple(one.random[b][-1].quality for one in table.seeds)
    counts = made.counts()
    assert counts.pairs == 2
    assert made.counts(own=True).pairs == 2
    assert counts.mean == pytest.approx(fmean(made.gain(pair) for pair in made.pairs()))
    assert made.chance() in (0.25, 0.5, 0.75, 1.0)
    assert ceiling(table) is not None


def test_sign_flips_are_counted_by_hand() -> None:
    pairs = {("a", "b"): Paired(chosen=(0.5, 0.6, 0.4), random=(0.4, 0.4, 0.5))}
    made = Grid(strategy="x", surrogates=("a",), models=("b",), cells=pairs, fit={})
    # +10, +20, -10: of the 8 signed sums 20 and more are 20 (the data), 20 (-,+,+... by hand: 40, 20, 20), so 3.
    assert made.by_seed() == pytest.approx((10, 20, -10))
    assert made.chance() == pytest.approx(3 / 8)
    lone = Paired(chosen=(0.5,) * 4, random=(0.4,) * 4)
    assert Grid(strategy="x", surrogates=("a",), models=("b",), cells={("a", "b"): lone}, fit={}).chance() == 1 / 16


def test_the_strongest_of_a_row_is_the_darkest() -> None:
    def pair(gain: float) -> Paired:
        return Paired(chosen=(0.5 + gain,), random=(0.5,))

    cells_ = {("a", "x"): pair(0.04), ("b", "x"): pair(0.02), ("c", "x"): pair(-0.04), ("a", "y"): pair(0.0)}
    made = Grid(strategy="s", surrogates=("a", "b", "c"), models=("x", "y"), cells=cells_, fit={})
    assert sum(shade(made, ("a", "x"))) < sum(shade(made, ("b", "x"))) < 3
    red, _, blue = shade(made, ("c", "x"))
    assert red > blue, "below random is orange"
    assert shade(made, ("a", "y")) == (1, 1, 1)


def test_the_report_says_what_was_found(two_seeds: Study, tmp_path: Path) -> None:
    files = write(two_seeds, tmp_path)
    assert [file.name for file in files] == ["surrogates.md", "surrogates.csv", "surrogates.html", "surrogates.png"]
    lines = files[1].read_text().splitlines()
    assert tuple(lines[0].split(",")) == CSV_COLUMNS
    assert len(lines) == 1 + 2 * 2 * 4
    text = files[0].read_text()
    assert "25 of 28" in text
    assert "| `true-loss` (ceiling) |" in text
    made = grid(two_seeds.tables[0], "margin")
    assert f"{made.counts().ahead} of 2 pairs" in verdicts(two_seeds)[0]
    body = matrix(two_seeds.tables[0], "margin").splitlines()
    assert len(body) == 2 + 2 + 1
    mean = 100 * fmean(made.cells["linear", "mlp:4"].chosen)
    assert f"{mean:.1f} ±" in body[3]
    assert re.search(r"\(\d+\.\d\)", body[2]), "the ceiling stands in brackets"


def test_the_page_needs_nothing_but_itself(study: Study) -> None:
    text = html(study)
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value or "" for name, value in attrs if name in ("src", "href", "xlink:href"))
            assert tag not in ("script", "link", "iframe")

    Links().feed(text)
    assert found
    assert all(address.startswith(("#", "data:")) for address in found)
    assert text.count("<svg") == 2
    assert "rgb(" in text


def test_auto_stands_in_every_table(study: Study) -> None:
    text = page(study, pictures=["x.png"])
    assert "the same with `auto`" in matrix(study.tables[0], "margin")
    assert "### Chosen by auto" in text


@pytest.mark.parametrize("protocol", [one for preset in PRESETS.values() for one in preset], ids=lambda one: one.title)
def test_every_table_of_every_preset_has_auto_and_says_what_it_lacks(protocol: Protocol) -> None:
    assert AUTO in protocol.strategies
    told = {word for cut in protocol.cut for word in re.findall(r"no ([\w-]+(?: ceiling| curve)?)", cut)}
    asked = {"entropy": "entropy", "margin": "margin", "llal": "LLAL", TRUE_LOSS: "true-loss ceiling"}
    missing = {word for name, word in asked.items() if name not in protocol.strategies}
    if not {"core-set", "k-center"} & set(protocol.strategies):
        missing.add("Core-Set")
    if not protocol.curves:
        missing.add("learning curve")
    assert told & {*asked.values(), "Core-Set", "learning curve"} == missing


def test_spread_and_predictions_have_their_sizes(study: Study) -> None:
    table = study.tables[0]
    for spread in spreads(table):
        assert len(spread.values) == table.pool - 20
        assert (spread.values >= spread.cut).mean() == pytest.approx(0.1, abs=0.02)
        assert spread.variation == pytest.approx(spread.std / spread.mean)
    found = predictions(table, "margin")
    assert set(found) == {(a, b) for a in SMALL.models for b in SMALL.models}
    assert found["linear", "linear"].figures["O"] == 1
    assert rankings(table, "margin") == [], "two pairs can't be ranked"


def test_cells_are_counted_before(study: Study) -> None:
    assert cells_of(SMALL) > 0
    (one,) = estimates(Path("unused"), [SMALL])
    assert one.trainings >= study.tables[0].trained
    assert "minute" in one.sentence


def test_files_change_a_preset(tmp_path: Path) -> None:
    config = tmp_path / "study.yml"
    config.write_text("preset: digits\nseeds: 2\nshare: 0.01\nmodels: [linear, 'mlp:8']\nrecipe: {epochs: 3}\n")
    (made,) = protocols(None, config)
    assert (made.seeds, made.share, made.models) == (2, 0.01, ("linear", "mlp:8"))
    assert made.recipe == replace(PRESETS["digits"][0].recipe, epochs=3)
    assert protocols(None, None) == PRESETS["digits"]
    assert len(protocols("cifar10", None)) == 2
    assert read_config(_written(tmp_path, "")) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seds: 2", "did you mean 'seeds'"),
        ("recipe: {epoch: 2}", "did you mean 'epochs'"),
        ("preset: digit", "did you mean 'digits'"),
        ("surrogates: [mlp:9]", "surrogate"),
        ("seeds: two", "seeds must be a whole number"),
        ("seeds: true", "seeds must be a whole number"),
        ("seeds: 0", "seeds must be 1 or more"),
        ("models: linear", "must be a list of names"),
        ("models: [linear, linear]", "different names"),
        ("strategies: [random]", "always compared with"),
        ("share: 0.2", "share x cycles"),
        ("recipe: fast", "recipe must hold names and values"),
        ("- seeds", "expected names and values"),
        ("a: [", "no YAML"),
        ("models: [linaer]", "unknown model 'linaer'; did you mean 'linear'"),
        ("models: ['mlp:x']", "expected a width"),
        ("strategies: [entrpy, auto]", "unknown strategy 'entrpy'; did you mean 'entropy'"),
        ("strategies: [true-los]", "did you mean 'true-loss'"),
        ("strategies: ['margin:kep=2']", "unknown parameter 'kep'"),
        ("strategies: [batch-bald]", "needs member-logits; pixels of this study have logits, embeddings"),
        ("backbone: resnt8", "unknown model 'resnt8'; did you mean 'resnet8'"),
        ("{learner: heads, models: [linear]}", "name a backbone"),
        ("{preset: caltech101, models: [cnn:8]}", "unknown head 'cnn:8' (known: linear, mlp:WIDTH)"),
        ("{preset: caltech101, strategies: [llal]}", "llal needs predicted-loss; heads of this study have"),
        ("{preset: camvid, strategies: [llal, core-set]}", "unknown strategy for segmentation 'llal'"),
        ("{preset: camvid, models: [tiny-unt:8]}", "did you mean 'tiny-unet'"),
        ("{preset: camvid, models: [tiny-unet]}", "expected a width"),
        ("{preset: camvid, models: ['unet:resnt18']}", "unknown encoder 'resnt18'"),
    ],
)
def test_bad_configurations_are_refused_with_the_reason(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        protocols(None, _written(tmp_path, text))


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_preset_names_is_there(preset: str) -> None:
    assert protocols(preset, None) == PRESETS[preset]


def test_models_have_the_columns_that_names_are_judged_by(tmp_path: Path) -> None:
    pixels = bench_of(SMALL, tmp_path, None)
    assert isinstance(pixels, PixelBench)
    heads = HeadBench(
        images=pixels.images,
        lessons=pixels.lessons,
        look=lambda: pixels.embeddings,
        test_embeddings=pixels_as_embeddings(pixels.images.test_pixels),
    )
    rows = np.arange(30)
    for learner, bench in (("pixels", pixels), ("heads", heads)):
        taught = bench.teach("mlp:4", rows, seed=0, needs=("predicted-loss",))
        assert set(taught.columns) == set(COLUMNS[learner])


def test_a_name_that_is_not_there_ends_a_study_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="entrpy"):
        run(tmp_path, [SMALL, replace(SMALL, strategies=("entrpy",))], name="minute")
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORESIFT_DATA", raising=False)
    with pytest.raises(UsageError, match="can't be read"):
        protocols(None, tmp_path / "none.yml")
    with pytest.raises(UnknownNameError, match="preset"):
        protocols("huge", None)
    with pytest.raises(UsageError, match="give one of them"):
        protocols("cifar10", _written(tmp_path, "preset: digits"))
    with pytest.raises(DataError, match="--data"):
        run(tmp_path, PRESETS["cifar10"], name="x")
    with pytest.raises(UsageError, match="more than the pool"):
        run(tmp_path, [replace(SMALL, budget=900)], name="x")


def test_a_strategy_that_cannot_work_is_named_with_its_reason(tmp_path: Path) -> None:
    odd = replace(SMALL, models=("linear", "mlp:4"), strategies=("llal",), cycles=2, curves=False, probes=False)
    study = run(tmp_path, [odd], name="odd")
    made = grid(study.tables[0], "llal")
    assert set(made.surrogates) == {"linear", "mlp:4"}
    assert {a for a, _ in made.cells} == {"mlp:4"}, "a linear model has no feature maps to look at"
    text = page(study, pictures=["x.png"])
    assert "feature maps" in text
    assert "Entropy after" not in text, "without probes there is no histogram"
    assert all(file.stat().st_size > 200 for file in write(study, tmp_path))


def test_no_result_is_told_as_none(tmp_path: Path) -> None:
    lone = replace(SMALL, models=("linear",), strategies=("llal", "margin"), cycles=2, probes=False, pilots=0)
    study = run(tmp_path, [lone], name="lone")
    llal, margin, why = verdicts(study)
    assert llal == "minute, llal: no result."
    assert margin.startswith(
        "minute, margin: no pair of different models to judge by; models that chose for themselves"
    )
    assert why.startswith("minute, `llal` by linear gave no result: ")
    assert "feature maps" in why
    (table,) = study.tables
    assert counts_sheet(table).rows[0] == ["`llal`", *["-"] * 7]
    assert counts_sheet(table).rows[1][-2] in ("0 of 1", "1 of 1")
    assert "by linear gave no result" in html(study)
    assert not any("0 of 0" in text for text in (*verdicts(study), page(study, pictures=["x.png"]), html(study)))
    (plain,) = summaries(study)
    assert (plain["strategies"]["llal"]["mean"], plain["strategies"]["llal"]["p"]) == (None, None)
    assert plain["refused"] == refusals(table)


def test_a_strategy_that_finds_too_little_in_a_model_is_refused_for_that_model(tmp_path: Path) -> None:
    made = cells(tmp_path, replace(SMALL, strategies=("k-dpp:kernel=linear",)))
    assert made.offered("k-dpp:kernel=linear", "mlp:4", 0) is None
    ((pair, why),) = made.refused.items()
    assert pair == ("mlp:4", "k-dpp:kernel=linear")
    assert "rank" in why


def test_a_damaged_choice_is_no_refusal(tmp_path: Path) -> None:
    made = cells(tmp_path)
    made.drawn(0)
    before = set(tmp_path.glob("cells/choice-*"))
    made.choices("margin", "linear", 0)
    (first, *_) = set(tmp_path.glob("cells/choice-*")) - before
    first.write_text("{")
    again = cells(tmp_path)
    with pytest.raises(StoreError, match="is not JSON"):
        again.offered("margin", "linear", 0)
    assert again.refused == {}


def test_both_pages_show_the_same_tables(tmp_path: Path) -> None:
    wide = replace(SMALL, models=("linear", "mlp:4", "mlp:5"), strategies=("margin", "llal"), cycles=2, pilots=0)
    study = run(tmp_path, [wide], name="wide")
    (table,) = study.tables
    known = suitability(table, "margin")
    assert known is not None
    assert [len(known.ranked.rows), len(known.pairs.rows)] == [4, 6]
    shown, text = _tables(html(study)), page(study, pictures=["x.png"])
    for sheet in (counts_sheet(table), spread_sheet(table), known.ranked, known.pairs):
        assert [[cell.replace("`", "") for cell in row] for row in (sheet.head, *sheet.rows)] in shown
        assert markdown(sheet) in text
    (refused,) = refusals(table)
    assert f"- {refused}" in text.splitlines()
    assert f"<li>{escape(refused).replace('`llal`', '<code>llal</code>')}</li>" in html(study)


def test_a_picture_is_called_what_it_shows(two_seeds: Study) -> None:
    (table,) = two_seeds.tables
    for left_out, shown in (
        ((), "gains, spread of the entropy and learning curves"),
        (("curves",), "gains and spread of the entropy"),
        (("probes", "curves"), "gains"),
    ):
        bare = replace(table, protocol=replace(table.protocol, **dict.fromkeys(left_out, False)))
        assert f"![{shown}](x.png)" in section(bare, "x.png")


def test_a_model_that_diverged_is_unfit_and_ends_nothing(tmp_path: Path) -> None:
    bench = bench_of(SMALL, tmp_path, None)
    nothing = np.full((bench.count, 10), np.nan, dtype=np.float32)
    diverged = Taught(quality=0.1, fit=0.1, columns={"logits": lambda: nothing})
    with pytest.raises(UnfitError, match="not finite"):
        bench.choose("margin", diverged, np.arange(20), budget=20, seed=0)


def test_a_strategy_has_one_colour_in_all_curves(tmp_path: Path) -> None:
    odd = replace(SMALL, models=("linear", "mlp:4"), strategies=("llal", "margin"), probes=False, pilots=0)
    (table,) = run(tmp_path, [odd], name="odd").tables
    figure = Figure()
    curves_panel(figure, table)
    first, second = ({line.get_label(): line.get_color() for line in panel.lines} for panel in figure.axes)
    assert set(second) - set(first) == {"llal"}, "a linear model has no feature maps"
    assert first.items() < second.items()
    legend = figure.axes[-1].get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == set(second)


def test_an_estimate_learns_no_embeddings_and_counts_them(tmp_path: Path) -> None:
    heads = replace(
        SMALL, learner="heads", models=("linear",), strategies=("margin",), backbone="resnet8", backbone_epochs=3
    )
    (before,) = estimates(tmp_path, [heads])
    assert list(tmp_path.iterdir()) == []
    assert before.seconds > before.embedding_seconds > 0
    assert "of them for embeddings learned without labels" in before.sentence
    (on_pixels,) = estimates(tmp_path, [replace(heads, learner="pixels")])
    assert on_pixels.embedding_seconds > 0
    (longer,) = estimates(tmp_path, [replace(heads, backbone_epochs=300)])
    assert longer.embedding_seconds > before.embedding_seconds, "a hundred times as many epochs"
    bench_of(heads, tmp_path, None)
    (after,) = estimates(tmp_path, [heads])
    assert after.embedding_seconds == 0
    assert "without labels" not in after.sentence


def test_an_error_ends_the_other_processes_at_once(tmp_path: Path) -> None:
    long = replace(SMALL, seeds=6, recipe=Lessons(epochs=60), strategies=("margin",))
    made = cells(tmp_path, long)
    made.drawn(0)
    (first, *_) = tmp_path.glob("cells/choice-*")
    first.write_text("{")
    with pytest.raises(StoreError, match="is not JSON"):
        run(tmp_path, [long], name="long", workers=2)
    assert active_children() == []
    count = len(list(tmp_path.glob("cells/*")))
    assert count < 2 * cells_of(long), "whoever waited for a process got none"


def test_ctrl_c_ends_every_process_at_once(tmp_path: Path) -> None:
    config, out = _written(tmp_path, "{seeds: 6, models: [linear, 'mlp:4'], recipe: {epochs: 400}}"), tmp_path / "out"
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", f"{heeding}from foresift.cli.main import main; main()", "study", "surrogates"]
    line = [*command, str(config), "--out", str(out), "--workers", "2"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        try:
            while not list(out.glob("cells/training-*")):
                with suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"it ended with {running.wait(timeout=0.1)}")
            os.killpg(running.pid, signal.SIGINT)  # as a terminal does
            _, said = running.communicate(timeout=100)  # until nobody holds the pipe any longer
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130
    assert said.splitlines()[-1].startswith("interrupted;")
    assert "Traceback" not in said
    (protocol,) = protocols(None, config)
    assert len(list(out.glob("cells/*"))) < cells_of(protocol), "neither process finished its seed"


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.tables[-1][-1][-1] += data


def _tables(text: str) -> list[list[list[str]]]:
    """Rows of the text of every table of a page, the first of them its head."""
    found = _Tables()
    found.feed(text)
    return found.tables


def _written(folder: Path, text: str) -> Path:
    path = folder / "bad.yml"
    path.write_text(text)
    return path
