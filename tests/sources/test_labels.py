import csv
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from foresift.app.pools import labeled_part, relabeled
from foresift.core.errors import DataError, LabelError
from foresift.core.samples import Label, Pool, Quarantined
from foresift.sources.labels import read_labels, resolve, resolve_ids


def pool_of(ids: list[object]) -> Pool:
    uris = [f"/data/{i}.png" for i in ids]
    return Pool.from_columns("test", ids, uris=uris, other_uris={ids[0]: ("/data/copy.png",)})


TEXT = pool_of(["a", "b", "c"])
NUMBERS = pool_of([1, 2, 10])


def text_file(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_filled_in_selection_file_is_a_labels_file(tmp_path: Path) -> None:
    path = tmp_path / "selection.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["rank", "id", "uri", "score", "label"])
        writer.writeheader()
        for rank, (sample, label) in enumerate({"c": "cat", "a": "", "b": " dog "}.items(), start=1):
            row = {"rank": rank, "id": sample, "uri": f"/data/{sample}.png", "score": 0.5, "label": label}
            writer.writerow(row)
    table = read_labels(path)
    assert resolve(TEXT, table).labels == [Label(sample_id="b", value="dog"), Label(sample_id="c", value="cat")]
    assert resolve_ids(TEXT, table).ids.tolist() == ["b", "c"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_whole_numbers_find_integer_ids_in_every_format(tmp_path: Path, kind: str) -> None:
    rows = [{"id": 10, "label": 3}, {"id": 2, "label": 4}]
    path = tmp_path / f"labels.{kind}"
    if kind == "csv":
        path.write_text("id,label\n10,3\n2,4\n")
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    assert resolve(NUMBERS, read_labels(path)).labels == [Label(sample_id=2, value="4"), Label(sample_id=10, value="3")]
    assert resolve_ids(NUMBERS, read_labels(path)).ids.tolist() == [2, 10]


def test_rows_by_address_duplicates_included(tmp_path: Path) -> None:
    table = read_labels(text_file(tmp_path, "uri,label\n/data/copy.png,cat\nfile:///data/./b.png,dog\n"))
    assert resolve(TEXT, table).labels == [Label(sample_id="a", value="cat"), Label(sample_id="b", value="dog")]


def test_relative_addresses_start_at_the_file(tmp_path: Path) -> None:
    pool = Pool.from_columns("test", ["a"], uris=[str(tmp_path / "sub" / "x.png")])
    assert resolve_ids(pool, read_labels(text_file(tmp_path, "uri\nsub/x.png\n"))).ids.tolist() == ["a"]


def test_one_id_a_line(tmp_path: Path) -> None:
    path = text_file(tmp_path, "2\n\n10\n2\n", "ids.txt")
    assert resolve_ids(NUMBERS, read_labels(path)).ids.tolist() == [2, 10]
    assert resolve(NUMBERS, read_labels(path)).labels == []


def test_unknown_samples_name_the_first_and_the_count(tmp_path: Path) -> None:
    table = read_labels(text_file(tmp_path, "id,label\na,cat\nx,dog\ny,dog\nz,\n"))
    with pytest.raises(LabelError, match=r"2 of 3 rows name no sample of pool test; the first is line 3: x"):
        resolve(TEXT, table)
    none = read_labels(text_file(tmp_path, "id\nx\ny\n"))
    with pytest.raises(LabelError, match=r"2 of 2 rows name no sample of pool test; the first is line 2: x"):
        resolve_ids(TEXT, none)


# ---- rows that are passed over -----------------------------------------------------------------

WITH_A_BROKEN_FILE = replace(TEXT, quarantined=(Quarantined(uri="/data/broken.png", reason="zero bytes long"),))


@pytest.mark.parametrize("row", [",/data/broken.png", "was-whole-once,/data/broken.png"])
def test_a_broken_file_among_the_labels_is_skipped(tmp_path: Path, row: str) -> None:
    path = text_file(tmp_path, f"id,uri,label\na,,cat\n{row},dog\n")
    assert resolve(WITH_A_BROKEN_FILE, read_labels(path)) == ([Label(sample_id="a", value="cat")], 1)
    with pytest.raises(LabelError, match="1 of 2 rows"):
        resolve(TEXT, read_labels(path))
    pool = relabeled(replace(WITH_A_BROKEN_FILE, notes=("first",)), path)
    assert pool.notes == ("first", f"1 rows of {path} skipped: they name broken files")
    assert [sample.label for sample in pool] == ["cat", None, None]


def test_labeled_rows_that_name_nothing_to_choose_are_skipped(tmp_path: Path) -> None:
    path = text_file(tmp_path, "id,uri\na,\ngone,\n,/data/gone.png\n,/data/broken.png\n")
    ids, _, notes = labeled_part(WITH_A_BROKEN_FILE, path, own_labels=False)
    assert ids.tolist() == ["a"]
    assert notes == (f"3 rows of {path} skipped: they name broken files or samples that the pool lacks",)
    assert labeled_part(WITH_A_BROKEN_FILE, path, own_labels=False).ids.tolist() == ["a"]


def test_a_labeled_file_of_broken_files_is_no_wrong_file(tmp_path: Path) -> None:
    path = text_file(tmp_path, "uri\n/data/broken.png\n/data/gone.png\n")
    assert resolve_ids(WITH_A_BROKEN_FILE, read_labels(path)).ids.tolist() == []
    with pytest.raises(LabelError, match="2 of 2 rows"):
        resolve_ids(TEXT, read_labels(path))


def test_files_without_trouble_are_without_notes(tmp_path: Path) -> None:
    path = text_file(tmp_path, "id,label\na,cat\n")
    assert labeled_part(TEXT, path, own_labels=False).notes == relabeled(TEXT, path).notes == ()


@pytest.mark.parametrize(
    ("text", "labeled"),
    [
        ("id,label\na,cat\nb,\nc,dog\n", ["a", "c"]),
        ("id,label\na,\nb, \n", ["a", "b"]),
        ("id\na\nb\n", ["a", "b"]),
        ("id,label\n", []),
    ],
)
def test_what_a_partly_filled_in_selection_says_is_labeled(tmp_path: Path, text: str, labeled: list[str]) -> None:
    assert resolve_ids(TEXT, read_labels(text_file(tmp_path, text))).ids.tolist() == labeled


def test_an_id_is_never_guessed_from_the_address(tmp_path: Path) -> None:
    """The id of a pool without own ids is its content: other bytes at the same address are another sample."""
    table = read_labels(text_file(tmp_path, "id,uri,label\nold,/data/a.png,cat\n"))
    with pytest.raises(LabelError, match="old"):
        resolve(TEXT, table)


def test_two_labels_for_one_sample(tmp_path: Path) -> None:
    same = read_labels(text_file(tmp_path, "id,uri,label\na,,cat\n,/data/copy.png,cat\n"))
    assert resolve(TEXT, same).labels == [Label(sample_id="a", value="cat")]
    other = read_labels(text_file(tmp_path, "id,uri,label\na,,cat\n,/data/copy.png,dog\n"))
    with pytest.raises(LabelError, match=r"line 3: sample 'a' .* labeled 'dog', but was labeled 'cat'"):
        resolve(TEXT, other)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,label\na,cat\n", r"no column id or uri \(columns: name, label\)"),
        ("a\nb\nc\n", r"or a \.txt file with one id a line"),
        ("id,uri,label\na,,cat\n,,dog\n", r"line 3: neither id nor uri"),
        ("uri,label\nftp://b/a.png,cat\n", r"expected a path"),
    ],
)
def test_what_is_no_labels_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labels(text_file(tmp_path, text))


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"expected a table \(\.csv"):
        read_labels(text_file(tmp_path, "a", "labels.xlsx"))


def test_a_spreadsheet_may_save_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes("\ufeffid;uri;label\r\na;;Katze, klein\r\nb;;\r\n".encode())
    table = read_labels(path)
    assert (table.ids, table.labels) == (("a", "b"), ("Katze, klein", ""))


def test_what_nobody_could_tell_is_never_trained_on(tmp_path: Path) -> None:
    path = text_file(tmp_path, "id,label\na,cat\nb,Cannot tell\nc,cannot-tell\n")
    pool = relabeled(TEXT, path)
    assert pool.classes == ("cat",)
    assert pool.labeled.tolist() == [True, False, False]
    assert "2 rows" in pool.notes[-1]
