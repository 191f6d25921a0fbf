"""Files of answers: usable rows are taken, every other one is told with its line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from foresift.core.errors import DataError
from foresift.sources.answers import read_answers


def text_file(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text)
    os.utime(folder / name, (0, 0))
    return folder / name


def test_a_selection_file_with_labels_filled_in_is_a_file_of_answers(tmp_path: Path) -> None:
    text = "rank,id,uri,score,arm,label\n1,a,/x/a.png,0.5,,cat\n2,b,/x/b.png,0.4,,\n3,,c.png,0.3,, dog \n"
    found = read_answers(text_file(tmp_path, text))
    assert [(row.sample, row.label, row.place) for row in found.rows] == [("a", "cat", "line 2"), ("", "dog", "line 4")]
    assert found.rows[1].uri == str(tmp_path / "c.png")
    assert (found.empty, found.refused) == (1, ())
    assert found.rows[0].at == "1970-01-01T00:00:00.000Z", "the file's own time, the same each time it is read"


def test_who_when_and_cost_are_read_where_they_are_there(tmp_path: Path) -> None:
    text = "id,label,annotator,at,cost\na,cat,ann,2026-05-04T19:03:00+02:00,0.08\nb,dog,,,\n"
    first, second = read_answers(text_file(tmp_path, text)).rows
    assert (first.annotator, first.at, first.cost) == ("ann", "2026-05-04T17:03:00.000Z", 0.08)
    assert (second.annotator, second.cost) == ("", None)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_bad_rows_are_refused_one_by_one(suffix: str, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "uri": "", "label": "cat", "cost": "1"},
        {"id": "", "uri": "", "label": "cat", "cost": ""},
        {"id": "c", "uri": "", "label": "cat", "cost": "much"},
        {"id": "d", "uri": "", "label": "dog", "cost": ""},
    ]
    path = tmp_path / f"labels{suffix}"
    if suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "," if suffix == ".csv" else "\t"
        path.write_text("\n".join(mark.join(row) for row in [rows[0].keys(), *(r.values() for r in rows)]) + "\n")
    found = read_answers(path)
    first = {".parquet": 1, ".jsonl": 1}.get(suffix, 2)
    unit = "row" if suffix == ".parquet" else "line"
    assert [row.sample for row in found.rows] == ["a", "d"]
    assert [one.place for one in found.refused] == [f"{unit} {first + 1}", f"{unit} {first + 2}"]
    assert "neither id nor uri" in found.refused[0].reason
    assert "cost" in found.refused[1].reason


def test_lines_that_are_no_rows_are_refused_and_the_others_taken(tmp_path: Path) -> None:
    table = read_answers(text_file(tmp_path, "id,label\na,cat\nb,dog,cow\nc\nd,dog\n"))
    assert [row.sample for row in table.rows] == ["a", "d"]
    assert [one.place for one in table.refused] == ["line 3", "line 4"]
    lines = read_answers(text_file(tmp_path, '{"id": "a", "label": "cat"}\n{"id": \n[]\n', "labels.jsonl"))
    assert [row.sample for row in lines.rows] == ["a"]
    assert [one.place for one in lines.refused] == ["line 2", "line 3"]
    assert str(tmp_path) not in "".join(map(str, lines.refused))


def test_a_file_of_another_kind_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column id or uri"):
        read_answers(text_file(tmp_path, "name,label\na,cat\n"))
    with pytest.raises(DataError, match="no column label"):
        read_answers(text_file(tmp_path, "id,class\na,cat\n"))
    (tmp_path / "latin.csv").write_bytes(b"id,label\na,\xe9\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_answers(tmp_path / "latin.csv")
    with pytest.raises(DataError, match="no suffix"):
        read_answers(text_file(tmp_path, "a,b\n", "labels"))


@pytest.mark.parametrize("at", ["yesterday", "2026-13-01", "12:30"])
def test_a_time_that_is_none_is_refused(at: str, tmp_path: Path) -> None:
    found = read_answers(text_file(tmp_path, f"id,label,at\na,cat,{at}\n"))
    assert "at must be a time" in found.refused[0].reason
