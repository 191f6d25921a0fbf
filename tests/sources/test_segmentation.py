import json
from pathlib import Path

import numpy as np
import pytest

from foresift.core.errors import DataError, EmptyPoolError, MissingPathError, UnknownNameError
from foresift.inference.masks import decode_mask
from foresift.sources.segmentation import MaskedListing, masked_images
from segmentation_files import write_png, write_squares

PIXELS = np.zeros((4, 6, 3), dtype=np.uint8)


def draw(path: Path, value: int = 0, *, dtype: type = np.uint8) -> None:
    write_png(path, np.full((4, 6), value, dtype=dtype))


def names(listing: MaskedListing) -> list[str]:
    return [Path(image).name for image in listing.images]


def first_values(listing: MaskedListing) -> list[int]:
    return [int(mask.read(decode_mask)[0][0, 0]) for mask in listing.masks]


def test_folders_are_matched_by_stem_at_any_depth(tmp_path: Path) -> None:
    for stem, value in (("b", 2), ("a", 1), ("deep/a", 3)):
        write_png(tmp_path / "images" / "train" / f"{stem}.bmp", PIXELS)
        draw(tmp_path / "masks" / "train" / f"{stem}.png", value)
    listing = masked_images(tmp_path, "train")
    assert names(listing) == ["a.bmp", "b.bmp", "a.bmp"]
    assert first_values(listing) == [1, 2, 3]
    assert (listing.classes, listing.quarantined, listing.notes) == (None, (), ())


def test_folders_without_splits(tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "a.png", PIXELS)
    draw(tmp_path / "masks" / "a.png")
    assert names(masked_images(tmp_path)) == ["a.png"]
    with pytest.raises(MissingPathError, match="no split 'train'"):
        masked_images(tmp_path, "train")


def test_a_split_must_be_chosen_and_exist(tmp_path: Path) -> None:
    write_squares(tmp_path, count=1)
    write_squares(tmp_path, split="test", count=1)
    with pytest.raises(MissingPathError, match="has the splits test, train; choose one with --split"):
        masked_images(tmp_path)
    with pytest.raises(MissingPathError, match=r"no split 'val' \(has: test, train\)"):
        masked_images(tmp_path, "val")


def test_an_image_without_a_mask_is_quarantined_and_a_mask_without_an_image_noted(tmp_path: Path) -> None:
    write_squares(tmp_path, count=3)
    (tmp_path / "masks" / "train" / "01.png").unlink()
    (tmp_path / "images" / "train" / "02.png").unlink()
    listing = masked_images(tmp_path, "train")
    assert names(listing) == ["00.png"]
    assert [(Path(one.uri).name, one.reason) for one in listing.quarantined] == [("01.png", "no mask of the same name")]
    assert listing.notes == (f"1 masks in {tmp_path}/masks/train belong to no image",)


def test_an_empty_image_and_an_empty_mask_say_so(tmp_path: Path) -> None:
    write_squares(tmp_path, count=3)
    (tmp_path / "images" / "train" / "00.png").write_bytes(b"")
    (tmp_path / "masks" / "train" / "01.png").write_bytes(b"")
    listing = masked_images(tmp_path, "train")
    assert [one.reason for one in listing.quarantined] == ["zero bytes long"]
    with pytest.raises(DataError, match=r"masks/train/01.png: zero bytes long"):
        listing.masks[0].read(decode_mask)


def test_cityscapes(tmp_path: Path) -> None:
    for city, number in (("ulm", 1), ("aachen", 2)):
        stem = f"{city}_{number}"
        write_png(tmp_path / "leftImg8bit" / "train" / city / f"{stem}_leftImg8bit.png", PIXELS)
        draw(tmp_path / "gtFine" / "train" / city / f"{stem}_gtFine_labelIds.png", 25 + number)
        draw(tmp_path / "gtFine" / "train" / city / f"{stem}_gtFine_instanceIds.png", 0)
    listing = masked_images(tmp_path, "train")
    assert first_values(listing) == [27, 26]
    assert listing.classes is not None
    assert len(listing.classes.classes) == 19
    everything = np.array([[*range(34), 255]])
    codes = dict(zip(everything[0].tolist(), listing.classes.codes(everything)[0].tolist(), strict=True))
    # The train ids of the set: road 0, sidewalk 1, ..., car 13, ..., bicycle 18.
    assert [codes[value] for value in (7, 8, 11, 26, 33)] == [0, 1, 2, 13, 18]
    assert sorted(value for value in codes.values() if value >= 0) == list(range(19))


def test_voc(tmp_path: Path) -> None:
    for stem, value in (("2007_1", 3), ("2007_2", 255), ("2007_3", 0)):
        write_png(tmp_path / "JPEGImages" / f"{stem}.jpg", PIXELS)
        draw(tmp_path / "SegmentationClass" / f"{stem}.png", value)
    write_png(tmp_path / "JPEGImages" / "detection_only.jpg", PIXELS)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_3\n2007_1\n\n")
    (lists / "val.txt").write_text("2007_2\nmissing\n")
    listing = masked_images(tmp_path, "train")
    assert first_values(listing) == [3, 0]
    assert listing.classes is not None
    assert (len(listing.classes.classes), listing.classes.ignored) == (21, (255,))
    assert len(masked_images(tmp_path, "val").quarantined) == 1
    for split in ("", "test"):
        with pytest.raises(MissingPathError, match="train, val"):
            masked_images(tmp_path, split)


def test_ade20k_shifts_by_one_and_ignores_zero(tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "training" / "a.jpg", PIXELS)
    draw(tmp_path / "annotations" / "training" / "a.png", 150)
    listing = masked_images(tmp_path, "training")
    assert listing.classes is not None
    assert listing.classes.codes(np.array([[0, 1, 150]])).tolist() == [[-1, 0, 149]]
    assert listing.classes.classes[0] == "1"
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName", *(f"{i}\t0\t1\t1\t1\tthing {i}, alias" for i in range(1, 151))]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(rows))
    named = masked_images(tmp_path, "training").classes
    assert named is not None
    assert named.classes[149] == "thing 150, alias"
    (tmp_path / "objectInfo150.txt").write_text("Name\nwall\n")
    with pytest.raises(DataError, match="150 lines"):
        masked_images(tmp_path, "training")


def coco(root: Path, **changes: object) -> Path:
    for name in ("a.png", "b.png"):
        write_png(root / "train" / name, PIXELS)
    plain = {
        "images": [
            {"id": 7, "file_name": "b.png", "height": 4, "width": 6},
            {"id": 9, "file_name": "a.png", "height": 4, "width": 6},
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 5, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]},
            {"image_id": 7, "category_id": 2, "segmentation": [[0, 0, 6, 0, 6, 4, 0, 4]]},
        ],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_train.json").write_text(json.dumps(plain | changes))
    return root


def test_coco_draws_smaller_objects_over_larger_ones(tmp_path: Path) -> None:
    listing = masked_images(coco(tmp_path), "train")
    assert names(listing) == ["a.png", "b.png"]
    assert listing.classes is not None
    assert (listing.classes.classes, listing.classes.values) == (("background", "dog", "cat"), (0, 2, 5))
    empty, both = (mask.read(decode_mask)[0] for mask in listing.masks)
    assert (empty == 0).all()
    expected = np.full((4, 6), 2)
    expected[:2, :2] = 5
    np.testing.assert_array_equal(both, expected)


def test_a_coco_category_0_moves_the_background(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "cat"}, {"id": 2, "name": "dog"}]
    classes = masked_images(coco(tmp_path, categories=categories), "train").classes
    assert classes is not None
    assert classes.values == (3, 0, 2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"images": 3}, "no list of images"),
        ({"categories": []}, "no categories"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "share an id"),
        ({"categories": [{"name": "a"}]}, "need an id"),
    ],
)
def test_a_broken_annotation_file_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        masked_images(coco(tmp_path, **changes), "train")


def test_a_coco_image_of_senseless_annotations_is_quarantined(tmp_path: Path) -> None:
    images = [
        {"id": 7, "file_name": "a.png", "height": 4, "width": 6},
        {"id": 8, "file_name": "b.png", "height": 10**6, "width": 10**6},
        {"id": 9, "file_name": "c.png", "height": 4, "width": 6},
    ]
    listing = masked_images(coco(tmp_path, images=images, annotations=[{"image_id": 7}]), "train")
    reasons = [one.reason for one in listing.quarantined]
    assert [reason[:20] for reason in reasons] == ["an annotation withou", "its annotations decl", "no such file"]


def test_coco_splits_are_the_names_of_its_files(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="the splits train; choose one"):
        masked_images(coco(tmp_path))
    with pytest.raises(MissingPathError, match=r"no split 'val' \(has: train\)"):
        masked_images(tmp_path, "val")


def test_nothing_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="no such folder"):
        masked_images(tmp_path / "absent")
    with pytest.raises(DataError, match="expected a root that holds leftImg8bit"):
        masked_images(tmp_path)
    with pytest.raises(UnknownNameError, match="layout"):
        masked_images(tmp_path, layout="vocc")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(EmptyPoolError, match="no image with a mask"):
        masked_images(tmp_path)
