"""A table that is labeled in place is whole after every label, and nobody's label is lost."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from foresift.core.errors import DataError, StoreError, UsageError
from foresift.sources.labels import read_labels
from foresift.stores.sheets import LabelSheet
from foresift.stores.tables import write_rows

COLUMNS = ("rank", "id", "uri", "score", "arm", "label")
KINDS = ("csv", "jsonl", "parquet")
LABEL_MANY = """
import sys
from pathlib import Path
from foresift.stores.sheets import LabelSheet

sheet = LabelSheet(Path(sys.argv[1]))
for row in range(int(sys.argv[2]), len(sheet), 2):
    sheet.put(row, f"by-{sys.argv[2]}", seen="")
    print(row, flush=True)
"""


def selection(folder: Path, kind: str = "csv", n: int = 4) -> Path:
    rows = [
        {"rank": i + 1, "id": f"s{i}", "uri": f"/pool/{i}.png", "score": 1 / (i + 1), "arm": "strategy", "label": ""}
        for i in range(n)
    ]
    write_rows(folder / f"chosen.{kind}", rows, COLUMNS)
    return folder / f"chosen.{kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_is_in_the_file_when_it_was_put(kind: str, tmp_path: Path) -> None:
    path = selection(tmp_path, kind)
    sheet = LabelSheet(path)
    assert sheet.put(2, "cat", seen="") == "cat"
    assert read_labels(path).labels == ("", "", "cat", "")
    assert sheet.put(2, "dog", seen="cat") == "dog"
    assert sheet.put(2, "", seen="dog") == ""
    assert read_labels(path).labels == ("", "", "", "")


@pytest.mark.parametrize("kind", KINDS)
def test_who_looked_at_something_else_changes_nothing(kind: str, tmp_path: Path) -> None:
    path = selection(tmp_path, kind)
    one, other = LabelSheet(path), LabelSheet(path)
    one.put(0, "cat", seen="")
    before = path.read_bytes()
    assert other.put(0, "dog", seen="") == "cat"
    assert path.read_bytes() == before
    assert list(other.answers()) == ["cat", "", "", ""]
    assert other.put(0, "dog", seen="cat") == "dog"


def test_what_is_not_labeled_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "chosen.csv"
    lines = ["\ufeffid;uri;note;label\r\n", 'a;"/x;y.png";"two\r\nlines";\r\n', "\r\n", "b;/b.png;  spaced ;\r\n"]
    path.write_bytes("".join(lines).encode())
    LabelSheet(path).put(1, "cat", seen="")
    assert path.read_bytes().decode() == "".join([*lines[:3], "b;/b.png;  spaced ;cat\r\n"])
    LabelSheet(path).put(0, 'a "cat"; really', seen="")
    assert read_labels(path).labels == ('a "cat"; really', "cat")


def test_json_lines_keep_their_numbers_and_order(tmp_path: Path) -> None:
    path = tmp_path / "chosen.jsonl"
    path.write_text('{"score": 1e-05, "id": 7, "uri": "/7.png"}\n\n{"id": 8, "uri": "/8.png", "label": null}')
    LabelSheet(path).put(1, "Käse", seen="")
    first, blank, second = path.read_text().splitlines()
    assert first == '{"score": 1e-05, "id": 7, "uri": "/7.png"}'
    assert not blank
    assert json.loads(second) == {"id": 8, "uri": "/8.png", "label": "Käse"}


def test_parquet_keeps_types_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "chosen.parquet"
    table = pa.table({"id": pa.array([1, 2], pa.int64()), "uri": ["/1", "/2"], "label": pa.nulls(2)})
    parquet.write_table(table.replace_schema_metadata({"made": "here"}), path)
    LabelSheet(path, annotator="Ann").put(0, "cat", seen="")
    written = parquet.read_table(path)
    assert written.schema.field("id").type == pa.int64()
    assert written.schema.metadata[b"made"] == b"here"
    assert written.column("label").to_pylist() == ["cat", ""]
    assert written.column("annotator").to_pylist() == ["Ann", ""]


def test_the_annotator_stands_beside_the_labels_of_that_person(tmp_path: Path) -> None:
    path = selection(tmp_path)
    LabelSheet(path, annotator="Ann").put(0, "cat", seen="")
    LabelSheet(path, annotator="Bob").put(1, "dog", seen="")
    LabelSheet(path, annotator="Bob").put(1, "", seen="dog")
    LabelSheet(path).put(2, "dog", seen="")
    with path.open(newline="") as file:
        assert [row["annotator"] for row in csv.DictReader(file)] == ["Ann", "", "", ""]


@pytest.mark.parametrize("kind", KINDS)
def test_several_processes_lose_no_label(kind: str, tmp_path: Path) -> None:
    path = selection(tmp_path, kind, n=40)
    command = [sys.executable, "-c", LABEL_MANY, str(path)]
    running = [subprocess.Popen([*command, str(first)], stdout=subprocess.DEVNULL) for first in (0, 1)]
    assert [one.wait(timeout=240) for one in running] == [0, 0]
    assert read_labels(path).labels == ("by-0", "by-1") * 20


def test_several_threads_lose_no_label(tmp_path: Path) -> None:
    sheet = LabelSheet(selection(tmp_path, n=60))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda row: sheet.put(row, f"l{row}", seen=""), range(60)))
    assert list(sheet.answers()) == [f"l{row}" for row in range(60)]
    assert read_labels(sheet.path).labels == tuple(sheet.answers())


def test_who_is_killed_leaves_every_label_that_was_put(tmp_path: Path) -> None:
    path = selection(tmp_path, n=4000)
    with subprocess.Popen([sys.executable, "-c", LABEL_MANY, str(path), "0"], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        done = [int(running.stdout.readline()) for _ in range(20)]
        os.kill(running.pid, signal.SIGKILL)
        done += [int(line) for line in running.stdout if line.endswith(b"\n")]
    labels = read_labels(path).labels
    assert all(labels[row] == "by-0" for row in done)
    assert sum(map(bool, labels)) <= len(done) + 1


def test_rows_that_others_changed_are_seen(tmp_path: Path) -> None:
    path = selection(tmp_path)
    sheet = LabelSheet(path)
    path.write_text(path.read_text().replace("strategy,\n", "strategy,dog\n", 1))
    assert list(sheet.answers()) == ["dog", "", "", ""]


def test_other_samples_in_the_file_are_refused(tmp_path: Path) -> None:
    path = selection(tmp_path)
    sheet = LabelSheet(path)
    before = "".join(path.read_text().splitlines(keepends=True)[:-1])
    path.write_text(before)
    with pytest.raises(StoreError, match="names other samples"):
        sheet.put(0, "cat", seen="")
    assert path.read_text() == before


def test_a_link_stays_a_link_and_permissions_stay(tmp_path: Path) -> None:
    path = selection(tmp_path)
    path.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    LabelSheet(link).put(0, "cat", seen="")
    assert link.is_symlink()
    assert read_labels(path).labels[0] == "cat"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_full_disk_keeps_the_file_and_says_so(small_disk: Path) -> None:
    path = selection(small_disk, n=300)
    sheet = LabelSheet(path)
    filler = small_disk / "filler"
    fill(filler)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="no space left"):
        sheet.put(0, "cat", seen="")
    assert path.read_bytes() == before
    assert list(sheet.answers()) == [""] * 300
    filler.unlink()
    assert sheet.put(0, "cat", seen="") == "cat"
    assert list(small_disk.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"a", "expected a table"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"id,label\na\n", "not every row has 2 fields"),
        ("a.csv", b"id,label\n\xff,\n", "not UTF-8"),
        ("a.jsonl", b"{", "not JSON Lines"),
        ("a.jsonl", b"3\n", "one object a line"),
        ("a.parquet", b"PAR1", "not a readable Parquet"),
    ],
)
def test_what_is_no_table_is_refused(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((UsageError, DataError), match=said):
        LabelSheet(tmp_path / name)
    assert (tmp_path / name).read_bytes() == data


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        LabelSheet(tmp_path / "none.csv")


text = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8).map(str.strip).filter(bool)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.integers(0, 3), text | st.just(""), st.booleans()), max_size=8),
)
def test_a_sheet_is_a_list_of_labels(kind: str, changes: list[tuple[int, str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = selection(Path(folder), kind)
        sheet = LabelSheet(path)
        expected = [""] * 4
        for row, value, knows in changes:
            seen = expected[row] if knows else "what nobody said"
            expected[row] = value if knows else expected[row]
            assert sheet.put(row, value, seen=seen) == expected[row]
            assert read_labels(path).labels == tuple(expected)
            assert list(LabelSheet(path).answers()) == list(sheet.answers()) == expected
        assert read_labels(path).ids == tuple(f"s{i}" for i in range(4))
