import os
import shutil
from pathlib import Path

import pytest

from foresift.core.errors import DataError
from foresift.core.samples import Pool
from foresift.sources.digest_memory import DictDigestMemory
from foresift.sources.folder import FolderSource
from images import png


def pool_of(folder: Path) -> Pool:
    return FolderSource(folder).pool(DictDigestMemory(), need_digests=False)


def write(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(seed=seed + 1000 * len(names)))


def names(pool: Pool, folder: Path) -> list[str]:
    return sorted(uri[len(str(folder)) + 1 :] for uri in pool.uris.tolist())


def labels(pool: Pool) -> dict[str, str | None]:
    return {Path(sample.uris[0]).name: sample.label for sample in pool}


def test_images_at_any_depth_by_suffix(tmp_path: Path) -> None:
    images = [f"a/b/{i}.{s}" for i, s in enumerate(["jpg", "JPEG", "jpe", "png", "webp", "BMP", "tif", "tiff", "GIF"])]
    write(tmp_path, *images, "top.png", "notes.txt", "a/data.npy", "jpg", "noext")
    pool = pool_of(tmp_path)
    assert names(pool, tmp_path) == sorted([*images, "top.png"])
    assert pool.notes == ("passed over 4 files: 2 without a suffix, 1 .npy, 1 .txt",)
    assert pool.name == str(tmp_path)
    assert pool.ids.tolist() == pool.digests.tolist()


def test_the_note_on_files_passed_over_names_their_suffixes_and_counts(tmp_path: Path) -> None:
    write(
        tmp_path, "a.png", *(f"{i}.HEIC" for i in range(3)), "x/4.heic", "b.avif", "c.svg", *["d.cr2", "e.nef", "f.txt"]
    )
    note = "passed over 9 files: 4 .heic, 1 .avif, 1 .cr2, 1 .nef, 1 .svg, 1 .txt"
    assert pool_of(tmp_path).notes == (note,)
    for index in range(9):
        (tmp_path / f"a.{index}").touch()
    assert pool_of(tmp_path).notes[0].endswith(": 4 .heic, 1 .0, 1 .1, 1 .2, 1 .3, 1 .4, 1 .5, 1 .6, 7 others")


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "a.png", ".b.png", ".cache/c.png")
    assert names(pool_of(tmp_path), tmp_path) == ["a.png"]


def test_one_folder_a_class(tmp_path: Path) -> None:
    write(tmp_path, "cat/1.png", "dog/2.png", "dog/deep/3.png")
    pool = pool_of(tmp_path)
    assert labels(pool) == {"1.png": "cat", "2.png": "dog", "3.png": "dog"}
    assert "the names of 2 folders are labels, for train and evaluate only" in pool.notes


@pytest.mark.parametrize("splits", [("train", "test"), ("Train",), ("training", "val", "testing")])
def test_splits_are_no_classes_but_the_folders_inside_them_are(tmp_path: Path, splits: tuple[str, ...]) -> None:
    files = [f"{split}/{kind}/{n}{split}.png" for n, split in enumerate(splits) for kind in ("cat", "dog")]
    write(tmp_path, *files)
    pool = pool_of(tmp_path)
    assert set(pool.classes) == {"cat", "dog"}
    assert any("splits of one set" in note for note in pool.notes)


def test_classes_beside_a_folder_named_like_a_split_stay_classes(tmp_path: Path) -> None:
    write(tmp_path, "train/a/1.png", "car/b/2.png")
    assert set(pool_of(tmp_path).classes) == {"car", "train"}


@pytest.mark.parametrize("files", [["1.png", "cat/2.png", "dog/3.png"], ["cat/1.png", "cat/2.png"], ["1.png"], []])
def test_other_trees_have_no_labels(tmp_path: Path, files: list[str]) -> None:
    write(tmp_path, *files)
    pool = pool_of(tmp_path)
    assert len(pool) == len(files)
    assert not pool.labeled.any()


def test_the_spelling_of_the_root_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "set/cat/1.png", "set/dog/2.png")
    monkeypatch.chdir(tmp_path)
    pools = [pool_of(Path(spelling)) for spelling in ("set", "./set/", "set/../set", str(tmp_path / "set"))]
    assert len({(pool.name, pool.version) for pool in pools}) == 1
    assert labels(pools[0]) == {"1.png": "cat", "2.png": "dog"}


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path, "tree/a/1.png", "elsewhere/2.png")
    (tmp_path / "tree/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "tree/a/up").symlink_to(tmp_path / "tree")
    pool = pool_of(tmp_path / "tree")
    assert names(pool, tmp_path / "tree") == ["a/1.png", "linked/2.png"]
    [loop] = pool.quarantined
    assert loop.uri == str(tmp_path / "tree/a/up")
    assert loop.reason == "a link that leads back to a folder above it"


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "x.jpg/1.png")
    assert names(pool_of(tmp_path), tmp_path) == ["x.jpg/1.png"]


def test_links_to_files_are_files(tmp_path: Path) -> None:
    write(tmp_path, "outside.png", "tree/1.png")
    (tmp_path / "tree/2.png").symlink_to(tmp_path / "outside.png")
    assert names(pool_of(tmp_path / "tree"), tmp_path / "tree") == ["1.png", "2.png"]


def test_a_missing_root_and_a_file_as_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; expected a folder"):
        pool_of(tmp_path / "none")
    write(tmp_path, "a.png")
    with pytest.raises(DataError, match="give the folder that holds it"):
        pool_of(tmp_path / "a.png")


def test_a_path_longer_than_paths_may_be(tmp_path: Path) -> None:
    start = os.open(tmp_path, os.O_RDONLY)
    here = os.dup(start)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    os.close(start)
    write(tmp_path, "a.png")
    pool = pool_of(tmp_path)
    shutil.rmtree(tmp_path / ("d" * 200))  # not every tool that cleans up can
    assert len(pool) == 1
    assert [q.reason for q in pool.quarantined] == ["the file name is too long"]


def test_an_unreadable_folder_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.png", "locked/b.png")
    real = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the tests run as root, whom no mode keeps out
    pool = pool_of(tmp_path)
    assert len(pool) == 1
    assert [(q.uri, q.reason) for q in pool.quarantined] == [(str(tmp_path / "locked"), "no permission to read it")]
