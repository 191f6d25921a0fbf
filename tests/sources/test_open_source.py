import io
import os
import sys
from pathlib import Path

import pytest

from foresift.core.errors import DataError
from foresift.sources import FolderSource, ManifestSource, UriListSource, open_source
from foresift.sources.digest_memory import DictDigestMemory
from images import png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(["a.png", "b c.png", "#d.png"]):
        (tmp_path / name).write_bytes(png(seed=seed))
    return tmp_path


def uris(source: object) -> list[str]:
    return sorted(source.pool(DictDigestMemory(), need_digests=False).uris.tolist())


def test_folders_by_path_text_and_address(folder: Path) -> None:
    for spec in (folder, str(folder), folder.as_uri()):
        source = open_source(spec)
        assert isinstance(source, FolderSource)
        assert source.name == str(folder)
        assert len(uris(source)) == 3


@pytest.mark.parametrize("suffix", ["csv", "TSV", "jsonl", "ndjson", "parquet"])
def test_manifests_by_suffix(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"m.{suffix}").touch()
    assert isinstance(open_source(tmp_path / f"m.{suffix}"), ManifestSource)


def test_lines_of_standard_input(folder: Path) -> None:
    lines = ["# a comment\n", "\n", f"{folder}/a.png\r\n", (folder / "b c.png").as_uri() + "\n", f"{folder}/a.png"]
    source = open_source("-", stdin=iter(lines))
    assert isinstance(source, UriListSource)
    assert source.name == "stdin"
    assert uris(source) == uris(source) == [str(folder / "a.png"), str(folder / "b c.png")]


def test_relative_lines_start_at_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert uris(UriListSource(["a.png", "./#d.png"])) == [str(folder / "#d.png"), str(folder / "a.png")]


def test_names_that_are_not_utf8_on_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = os.fsencode(folder) + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes(png(seed=9))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw + b"\n" + os.fsencode(folder / "a.png"))))
    pool = open_source("-").pool(DictDigestMemory(), need_digests=False)
    assert pool.uris.tolist() == [str(folder / "a.png")]
    assert [(q.uri, q.reason) for q in pool.quarantined] == [
        (f"{folder}/caf\\xe9.png", "the file name is not valid UTF-8; rename the file")
    ]


def test_a_line_of_an_unknown_kind_names_itself() -> None:
    with pytest.raises(DataError, match=r"stdin, line 2: ftp://b/x\.png"):
        uris(UriListSource(["/a.png", "ftp://b/x.png"]))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("ftp://bucket/pool", "expected a path, file://"),
        ("http://host/pool", "can't be asked for a list; give a manifest"),
        ("none", "no such file or folder; expected a folder of images"),
        ("a.png", "a single image; expected a folder"),
        ("notes.md", "a file of an unknown kind; expected a folder"),
        ("no\0pe", "no such file or folder"),
    ],
)
def test_what_can_not_be_listed_says_what_to_give(
    folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str, says: str
) -> None:
    monkeypatch.chdir(folder)
    (folder / "notes.md").touch()
    with pytest.raises(DataError, match=says):
        open_source(spec)


def test_lists_on_standard_input_have_names_of_their_own(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for number, file in enumerate(files):
        file.write_bytes(bytes([number + 1]))
    names = [named(lines) for lines in (files, files[::-1], files[:1])]
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("stdin-") for name in names)


def named(files: list[Path]) -> str:
    return UriListSource(map(str, files)).pool(DictDigestMemory(), need_digests=True).name
