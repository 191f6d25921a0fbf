"""Selection by a segmentation model, end to end: images by aggregates, patches as units, one pass for all of it."""

from __future__ import annotations

import csv
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import Answer, command
from dense_pool import SIZES, write_model, write_pool
from foresift.core.regions import split_id
from foresift.inference.decode import decode
from foresift.kernels.patch_grid import cells_of, mean, patches_of, top_patches
from foresift.models.segmentation_generations import load_segmenter
from foresift.scores.dense import score_map
from foresift.stores.generations import read_segmentation

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "gen")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("pool") / "images")


@pytest.fixture(scope="module")
def filled(model: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose store has every grid; not to be changed."""
    home = tmp_path_factory.mktemp("filled")
    assert select(images, model, home, "--budget", 1).json["inferred"] == len(SIZES)
    return home


def select(images: Path, model: Path, home: Path, *options: object, strategy: str = "entropy") -> Answer:
    answer = command("select", images, "--model", model, "--strategy", strategy, *options, "--json", home=home)
    assert answer.code == 0, answer.err
    return answer


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as lines:
        return list(csv.DictReader(lines))


def chosen(answer: Answer) -> dict[str, float]:
    """Scores by file and region, in pick order."""
    return {row["id"]: row["score"] for row in answer.json["selected"]}


def entropy_maps(images: Path, model: Path) -> dict[str, np.ndarray]:
    """Per-pixel entropy of every image by its address, straight from the network."""
    generation = read_segmentation(model)
    network, found = load_segmenter(model, generation), {}
    mean_of, std = (np.array(part) for part in (generation.transform.mean, generation.transform.std))
    for path in sorted(images.iterdir()):
        pixels = (decode(path.read_bytes()) / 255 - mean_of) / std
        with torch.inference_mode():
            logits = network(torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float())
        found[str(path)] = score_map("entropy", logits[0].numpy())
    return found


@pytest.mark.parametrize(("aggregate", "value"), [("mean", mean), ("top-patches:patch=32,top=2", None)])
def test_images_are_chosen_by_the_aggregate_of_their_pixels(
    aggregate: str, value: object, model: Path, images: Path, filled: Path
) -> None:
    answer = select(images, model, filled, "--budget", 3, "--aggregate", aggregate)
    assert answer.json["inferred"] == 0
    maps = entropy_maps(images, model)
    by_uri = {uri: (value or (lambda c: top_patches(c, patch=32, top=2)))(cells_of(m))[0] for uri, m in maps.items()}
    picked = {row["uri"]: row["score"] for row in answer.json["selected"]}
    assert list(picked) == sorted(by_uri, key=lambda uri: -by_uri[uri])[:3]
    np.testing.assert_allclose(list(picked.values()), [by_uri[uri] for uri in picked], rtol=1e-4)


def test_patches_are_units_of_their_own(model: Path, images: Path, filled: Path) -> None:
    answer = select(images, model, filled, "--budget", 7, "--unit", "patch", "--patch", 32)
    assert answer.json["inferred"] == 0
    scored = {}
    for uri, entropies in entropy_maps(images, model).items():
        patches = patches_of(cells_of(entropies), 32)
        for (i, j), value in np.ndenumerate(patches.means[0]):
            scored[uri, 32 * j, 32 * i] = value
    rows = answer.json["selected"]
    np.testing.assert_allclose([row["score"] for row in rows], sorted(scored.values())[:-8:-1], rtol=1e-4)
    for row in rows:
        assert split_id(row["id"])[1] == (row["left"], row["top"], row["width"], row["height"])
        assert row["score"] == pytest.approx(scored[row["uri"], row["left"], row["top"]], rel=1e-4)
    assert answer.json["receipt"]["n_candidates"] == sum(-(-h // 32) * -(-w // 32) for h, w in SIZES)


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("entropy", ("--aggregate", "top-patches:patch=32,top=2")),
        ("margin", ("--unit", "patch", "--patch", 32)),
        ("k-center", ("--unit", "patch", "--patch", 32)),
        ("k-center", ()),
        ("random", ("--unit", "patch", "--patch", 32)),
        ("entropy:keep=20+k-center", ("--unit", "patch", "--patch", 32)),
        ("core-set", ("--unit", "patch", "--patch", 32, "--embeddings-from", "low-level")),
    ],
)
def test_receipts_replay_and_say_how_to_bring_rows_back(
    strategy: str, options: tuple[object, ...], model: Path, images: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    select(images, model, home, "--budget", 4, "--out", out, *options, strategy=strategy)
    assert command("replay", out, home=home).code == 0
    shutil.rmtree(home / "cache")
    lost = command("replay", out, home=home)
    while lost.code != 0:
        remedy = shlex.split(lost.complaint.partition("infer them again with: ")[2])
        assert command(*remedy[1:], home=home).code == 0
        lost = command("replay", out, home=home)


def test_labeled_patches_are_no_candidates(model: Path, images: Path, filled: Path, tmp_path: Path) -> None:
    patches = ("--unit", "patch", "--patch", 32, "--budget", 3)
    first = chosen(select(images, model, filled, *patches))
    labels = tmp_path / "labeled.csv"
    labels.write_text("id,label\n" + "".join(f'"{sample}",done\n' for sample in first))
    second = chosen(select(images, model, filled, *patches, "--labeled", labels))
    assert not set(first) & set(second)


@pytest.mark.parametrize("column", ["id", "uri"])
def test_all_patches_of_a_labeled_image_are_labeled(
    column: str, model: Path, images: Path, filled: Path, tmp_path: Path
) -> None:
    row = select(images, model, filled, "--budget", 1).json["selected"][0]
    labels = tmp_path / "labeled.csv"
    labels.write_text(f"{column}\n{row[column]}\nunknown\n")
    patches = ("--unit", "patch", "--patch", 32, "--budget", 3)
    answer = select(images, model, filled, *patches, "--labeled", labels)
    height, width = decode(Path(row["uri"]).read_bytes()).shape[:2]
    everything = select(images, model, filled, *patches).json["receipt"]["n_candidates"]
    own = -(-height // 32) * -(-width // 32)
    assert answer.json["receipt"]["n_candidates"] == everything - own
    assert any("1 rows" in line for line in answer.json["notes"])
    labels.write_text(f"{column}\nunknown\n")
    wrong = command("select", images, "--model", model, *patches, "--labeled", labels, home=filled)
    assert "names a sample" in wrong.complaint


def test_a_budget_in_pixels_counts_border_patches_by_their_own(model: Path, images: Path, filled: Path) -> None:
    for pixels in (1024, 5000, 20_000):
        answer = select(images, model, filled, "--unit", "patch", "--patch", 32, "--budget-pixels", pixels)
        areas = [row["width"] * row["height"] for row in answer.json["selected"]]
        assert sum(areas) <= pixels
        assert len(areas) >= pixels // 1024
        one_more = select(images, model, filled, "--unit", "patch", "--patch", 32, "--budget", len(areas) + 1)
        assert sum(row["width"] * row["height"] for row in one_more.json["selected"]) > pixels


def test_a_selection_file_of_patches_names_their_rectangles(
    model: Path, images: Path, filled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "patches.csv"
    select(images, model, filled, "--unit", "patch", "--patch", 32, "--budget", 5, "--out", out)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "id", "uri", "score", "arm", "left", "top", "width", "height", "label"]
    for row in rows:
        assert row["id"].endswith(f"#{row['left']},{row['top']},{row['width']},{row['height']}")


def test_broken_images_are_quarantined(model: Path, tmp_path: Path) -> None:
    images = write_pool(tmp_path / "images", SIZES[:3])
    (images / "broken.png").write_bytes(b"\x89PNG no more")
    answer = select(images, model, tmp_path / "home", "--budget", 2)
    assert [Path(row["uri"]).name for row in answer.json["quarantined"]] == ["broken.png"]


def test_scores_of_a_model_that_looks_at_another_size_are_in_the_images_own_pixels(
    images: Path, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "gen", size=(64, 64))
    rows = select(images, model, tmp_path / "home", "--unit", "patch", "--patch", 32, "--budget", 50).json["selected"]
    assert max(row["left"] + row["width"] for row in rows) == 128


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--strategy", "entropy", "--budget", 2, "--aggregate", "median"), "mean, max or top-patches"),
        (("--strategy", "k-center", "--budget", 2, "--aggregate", "mean"), "goes with a score of pixels"),
        (("--strategy", "badge", "--budget", 2), "badge needs logits, which a segmentation model does not give"),
        (("--strategy", "entropy", "--budget", 2, "--unit", "patch", "--patch", 20), "multiple of 16"),
        (("--strategy", "entropy", "--budget", 2, "--unit", "pixel"), "unit must be one of image, patch"),
        (("--strategy", "entropy", "--budget-pixels", 100), "together with --unit patch"),
        (("--strategy", "entropy", "--budget", 2, "--patch", 32), "--patch is the side of units and goes with --unit"),
        (("--strategy", "entropy", "--budget", 2, "--aggregate", "top-patches:patch=20"), "--aggregate top-patches"),
        (("--strategy", "entropy", "--budget", 2, "--embeddings-from", "x"), "no part in strategy entropy"),
        (("--strategy", "entropy", "--unit", "patch", "--budget-pixels", 9), "less than the first patch takes"),
        (("--strategy", "entropy", "--budget", 99), "within 1 .. 6"),
        (("--strategy", "entropy"), "--budget N"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: tuple[object, ...], said: str, model: Path, images: Path, filled: Path
) -> None:
    answer = command("select", images, "--model", model, *options, home=filled)
    assert answer.code == 2
    assert said in answer.complaint


def test_messages_name_what_was_typed(model: Path, images: Path, filled: Path, tmp_path: Path) -> None:
    out = tmp_path / "picked.csv"
    for typed, aggregate in (("entropy", ()), ("margin", ("--aggregate", "top-patches:patch=32,top=2"))):
        options = ("--model", model, "--strategy", typed, "--budget", 2, *aggregate, "--out", out)
        answer = command("select", images, *options, home=filled)
        assert f"by {' '.join((typed, *aggregate))}, seed" in answer.err
        row = rows_of(out)[0]
        said = command("explain", out, row["id"], home=filled)
        assert f"by {' '.join((typed, *aggregate))}, within" in said.out
        assert f"by {' '.join((typed, *aggregate))}, seed" in command("replay", out, home=filled).out
        assert "aggregate:" not in answer.err + said.out
        out.unlink()
    answer = command(
        "select", images, "--model", model, "--strategy", "entropy:keep=1+k-center", "--budget", 2, home=filled
    )
    assert "aggregate" not in answer.complaint


@pytest.mark.parametrize("spelled", ["{id}", '"{id}', '"{id}"', "{name}#{left},{top},{width},{height}"])
def test_a_patch_is_found_by_its_id_whatever_became_of_the_quotes(
    spelled: str, model: Path, images: Path, filled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    select(images, model, filled, "--budget", 2, "--unit", "patch", "--patch", 32, "--out", out)
    row = rows_of(out)[1]
    name = spelled.format(**row, name=Path(row["uri"]).name)
    assert "rank 2 of" in command("explain", out, name, home=filled).out


def test_masks_beside_the_images_are_no_candidates(model: Path, home: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    images = write_pool(root / "images", SIZES[:3])
    shutil.copytree(write_pool(tmp_path / "other", SIZES[3:5]), root / "masks")
    answer = select(root, model, home, "--budget", 2)
    assert answer.json["receipt"]["n_candidates"] == 3
    assert f"the pool is {images}" in answer.json["notes"][0]
    (root / "images" / "train").mkdir()
    (root / "images" / "test").mkdir()
    refused = command("select", root, "--model", model, "--budget", 2, home=home)
    assert f"give one of {images / 'test'}" in refused.complaint


def test_diverse_and_uncertain_patches(model: Path, images: Path, filled: Path) -> None:
    patches = ("--budget", 8, "--unit", "patch", "--patch", 32)
    answer = select(images, model, filled, *patches, strategy="ua-dpp:gamma=4")
    receipt = answer.json["receipt"]
    assert receipt["strategy"].startswith("ua-dpp-pixels:")
    assert "classes=4" in receipt["strategy"]
    assert "gamma=4.0" in receipt["strategy"]
    maps, every = entropy_maps(images, model), select(images, model, filled, *patches[:2], *patches[2:])
    assert len(chosen(answer)) == 8 == len(chosen(every))
    assert set(maps) >= {row["uri"] for row in answer.json["selected"]}


def test_auto_turns_to_uncertain_images_when_twenty_are_labeled(model: Path, home: Path, tmp_path: Path) -> None:
    images = write_pool(tmp_path / "images", [(32, 32)] * 26)
    options = ("--budget", 2, "--unit", "patch", "--patch", 16)
    first = select(images, model, home, *options, strategy="auto")
    assert first.json["receipt"]["pool"]["auto"]["ran"] == "typiclust"
    assert "nothing is labeled yet" in first.json["receipt"]["pool"]["auto"]["why"]
    labels = tmp_path / "labeled.csv"
    for count, ran in ((19, "typiclust"), (20, "margin")):
        labels.write_text("uri\n" + "".join(f"{images / f'{row}.png'}\n" for row in range(count)))
        for unit in ((), options[2:]):
            answer = select(images, model, home, *options[:2], *unit, "--labeled", labels, strategy="auto")
            assert answer.json["receipt"]["pool"]["auto"]["ran"] == ran


def test_the_first_patches_are_chosen_by_a_backbone(generation: Path, home: Path, tmp_path: Path) -> None:
    images = write_pool(tmp_path / "images", SIZES)
    (images / "broken.png").write_bytes(b"\x89PNG no more")
    out, options = tmp_path / "first.csv", ("--unit", "patch", "--patch", 32, "--model", generation, "--budget", 5)
    answer = command("select", images, "--strategy", "auto", *options, "--out", out, "--json", home=home)
    assert answer.code == 0, answer.err
    assert answer.json["receipt"]["pool"]["auto"]["ran"] == "typiclust"
    assert answer.json["receipt"]["n_candidates"] == sum(-(-h // 32) * -(-w // 32) for h, w in SIZES)
    assert [Path(row["uri"]).name for row in answer.json["quarantined"]] == ["broken.png"]
    shutil.rmtree(home / "cache")
    lost = command("replay", out, home=home)
    remedy = shlex.split(lost.complaint.partition("infer them again with: ")[2])
    assert command(*remedy[1:], home=home).code == 0
    assert command("replay", out, home=home).code == 0


def test_patches_are_embedded_by_a_backbone_beside_the_model(
    generation: Path, model: Path, images: Path, home: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "picked.csv", ("--unit", "patch", "--patch", 32, "--embeddings-from", generation)
    answer = select(images, model, home, "--budget", 5, *options, "--out", out, strategy="ua-dpp")
    stages = [part["stage"] for part in answer.json["receipt"]["producers"].values()]
    assert any(stage.startswith("crop-embeddings:patch=32") for stage in stages)
    own = select(images, model, home, "--budget", 5, *options[:4], strategy="k-center")
    other = select(images, model, home, "--budget", 5, *options, strategy="k-center")
    assert list(chosen(own)) != list(chosen(other))
    shutil.rmtree(home / "cache")
    lost = command("replay", out, home=home)
    while lost.code != 0:
        remedy = shlex.split(lost.complaint.partition("infer them again with: ")[2])
        assert command(*remedy[1:], home=home).code == 0
        lost = command("replay", out, home=home)


def test_the_first_patches_are_chosen_without_a_model(images: Path, home: Path, tmp_path: Path) -> None:
    images = write_pool(tmp_path / "images", SIZES)
    (images / "broken.png").write_bytes(b"\x89PNG no more")
    out, options = tmp_path / "first.csv", ("--unit", "patch", "--patch", 32, "--strategy", "random")
    answer = command("select", images, *options, "--budget", 9, "--out", out, "--json", home=home)
    assert answer.code == 0, answer.err
    assert answer.json["receipt"]["n_candidates"] == sum(-(-h // 32) * -(-w // 32) for h, w in SIZES)
    assert [Path(row["uri"]).name for row in answer.json["quarantined"]] == ["broken.png"]
    assert len({row["id"] for row in answer.json["selected"]}) == 9
    assert command("replay", out, home=home).code == 0
    by_pixels = command("select", images, *options, "--budget-pixels", 3000, "--json", home=home).json["selected"]
    assert 0 < sum(row["width"] * row["height"] for row in by_pixels) <= 3000


def test_scores_of_patches_need_a_segmentation_model(generation: Path, images: Path, home: Path) -> None:
    for given, why in (
        (("--model", generation), "gives embeddings only"),
        ((), "none was given"),
        (("--strategy", "k-center"), "k-center with embeddings need a segmentation model or a backbone"),
        (("--strategy", "random", "--aggregate", "mean"), "--aggregate needs a segmentation model"),
        (("--model", generation, "--aggregate", "mean"), "is a classifier"),
    ):
        answer = command("select", images, *given, "--unit", "patch", "--budget", 2, home=home)
        assert answer.code == 2
        assert why in answer.complaint
